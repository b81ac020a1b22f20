"""Derivations step by step: the stacks of a batch, and sentences with trees while they are drawn."""

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
    """

    constituents: torch.Tensor
    states: torch.Tensor
    size: torch.Tensor

    @classmethod
    def empty(cls, state: torch.Tensor) -> "Stacks":
        """Stacks without a constituent, with the LSTM's states (B, L, 2, H) before the first one."""
        batch, _, *rest = state.shape
        return cls(
            state.new_zeros(batch, 0, *rest), state.unsqueeze(1), torch.zeros(batch, dtype=torch.long, device=state.device)
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

    def with_top(self, constituent: torch.Tensor, state: torch.Tensor) -> "Stacks":
        """The stacks with one more constituent (B, 2, H), after which the LSTM is in `state` (B, L, 2, H)."""
        rows, depth = torch.arange(len(self.size), device=self.size.device), int(self.size.max()) + 1
        constituents, states = _resized(self.constituents, depth), _resized(self.states, depth + 1)
        return Stacks(
            constituents.index_put((rows, self.size), constituent),
            states.index_put((rows, self.size + 1), state),
            self.size + 1,
        )


class SampledTrees:
    """B sentences with their trees, written as they are drawn.

    Attributes:
        words: (B, n), without the end, n being the most words that are drawn; 0 past the length.
        lengths: (B,).
        spans: (B, n, n) bool, the spans of the trees, as `BinaryTreeCRF` has them.
        finished: (B,), whether the sentence came to its end; otherwise it was cut, and its spans are those of several trees.
        going: (B,), whether more is to be drawn.
    """

    def __init__(self, count: int, max_words: int, device: torch.device):
        options = {"dtype": torch.long, "device": device}
        self.words, self.lengths = torch.zeros(count, max_words, **options), torch.zeros(count, **options)
        self.spans = torch.zeros(count, max_words, max_words, dtype=torch.bool, device=device)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.going = torch.ones_like(self.finished)
        # First words of the constituents on the stack.
        self._first, self._size = torch.zeros(count, max_words + 1, **options), torch.zeros(count, **options)

    def take(self, reduces: torch.Tensor, words: torch.Tensor, ends: torch.Tensor) -> None:
        """Write down one step of each row that is going: REDUCE, the end, or else a SHIFT of a word."""
        shifts = self.going & ~reduces & ~ends & (self.lengths < self.words.shape[1])
        self.finished |= self.going & ends
        self.going = self.going & reduces | shifts
        rows = shifts.nonzero().squeeze(1)
        self.words[rows, self.lengths[rows]] = words[rows]
        self._first[rows, self._size[rows]] = self.lengths[rows]
        self.lengths[rows] += 1
        self._size += torch.where(self.going, torch.where(reduces, -1, 1), 0)
        rows = self.going.nonzero().squeeze(1)
        self.spans[rows, self._first[rows, self._size[rows] - 1], self.lengths[rows] - 1] = True


def _at(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """values (B, D, ...) at one place (B,) of each row: (B, ...)."""
    return values[torch.arange(len(place), device=place.device), place]


def _resized(values: torch.Tensor, depth: int) -> torch.Tensor:
    """values (B, D, ...) as (B, depth, ...)."""
    values = values[:, :depth]
    return functional.pad(values, (0, 0) * (values.dim() - 2) + (0, depth - values.shape[1]))
