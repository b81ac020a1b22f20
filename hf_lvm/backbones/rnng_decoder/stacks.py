"""The stacks of a batch of derivations, which grow and shrink step by step."""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Stacks:
    """The stacks of B derivations. What a REDUCE closed is gone: memory follows the depth of the stacks, not the sentences.

    Attributes:
        constituents: (B, D, 2, H), hidden and cell state of each constituent, the bottom of the stack first.
        states: (B, D + 1, L, 2, H), hidden and cell state of each of the L LSTMs that read the stack, before the first
            constituent and after each.
        size: (B,), how many constituents there are; what stands behind them counts for nothing.
        is_open: (B,) bool, whether the last step put a piece on top, so that the top is a word that may go on.
    """

    constituents: torch.Tensor
    states: torch.Tensor
    size: torch.Tensor
    is_open: torch.Tensor

    @classmethod
    def empty(cls, state: torch.Tensor) -> "Stacks":
        """Stacks without a constituent, with the LSTM's states (B, L, 2, H) before the first one."""
        batch, _, *rest = state.shape
        size = torch.zeros(batch, dtype=torch.long, device=state.device)
        return cls(state.new_zeros(batch, 0, *rest), state.unsqueeze(1), size, torch.zeros_like(size, dtype=torch.bool))

    def select(self, rows: torch.Tensor) -> "Stacks":
        """These rows (R,), in this order."""
        size = self.size[rows]
        depth = _largest(size)
        return Stacks(self.constituents[:, :depth][rows], self.states[:, : depth + 1][rows], size, self.is_open[rows])

    def join(self, *others: "Stacks") -> "Stacks":
        """The rows of these stacks and then those of others."""
        stacks = (self, *others)
        depth = max(_largest(each.size) for each in stacks)
        return Stacks(
            torch.cat([_resized(each.constituents, depth) for each in stacks]),
            torch.cat([_resized(each.states, depth + 1) for each in stacks]),
            torch.cat([each.size for each in stacks]),
            torch.cat([each.is_open for each in stacks]),
        )

    @property
    def state(self) -> torch.Tensor:
        """The LSTM's states at the top: (B, L, 2, H)."""
        return _at(self.states, self.size)

    def constituent(self, place: int) -> torch.Tensor:
        """The constituent at a place counted from the top, 1 being the topmost: (B, 2, H); anything where there is none."""
        if self.constituents.shape[1] == 0:
            return self.constituents.new_zeros(len(self.size), *self.constituents.shape[2:])
        return _at(self.constituents, (self.size - place).clamp(min=0))

    def without(self, count: torch.Tensor) -> "Stacks":
        """The stacks without their `count` (B,) topmost constituents."""
        return replace(self, size=self.size - count)

    def with_top(self, constituent: torch.Tensor, state: torch.Tensor, is_open: torch.Tensor) -> "Stacks":
        """The stacks with one more constituent (B, 2, H), after which the LSTM is in `state` (B, L, 2, H)."""
        rows, depth = torch.arange(len(self.size), device=self.size.device), _largest(self.size) + 1
        constituents, states = _resized(self.constituents, depth), _resized(self.states, depth + 1)
        return Stacks(
            constituents.index_put((rows, self.size), constituent),
            states.index_put((rows, self.size + 1), state),
            self.size + 1,
            is_open,
        )


def _at(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """values (B, D, ...) at one place (B,) of each row: (B, ...)."""
    return values[torch.arange(len(place), device=place.device), place]


def _largest(size: torch.Tensor) -> int:
    """The size of the largest stack; 0 where there is none."""
    return int(size.max()) if len(size) else 0


def _resized(values: torch.Tensor, depth: int) -> torch.Tensor:
    """values (B, D, ...) as (B, depth, ...)."""
    values = values[:, :depth]
    return functional.pad(values, (0, 0) * (values.dim() - 2) + (0, depth - values.shape[1]))
