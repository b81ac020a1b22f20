"""Known trees as sequences for a decoder: what is read where, what each position sees, what is predicted from it.

A sequence begins with the start token. A SHIFT reads the pieces of a word. A REDUCE reads two symbols: COMPOSE, which sees the
two constituents on top of the stack and from then on stands for both, and STACK, which sees the whole stack and which nothing
sees, so that the next prediction is made from all that is left (Sartran et al. 2022, here bottom-up and without labels).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from hf_lvm.grammars.shift_reduce import Derivations

COMPOSE, STACK = 0, 1


@dataclass(frozen=True)
class TreeSequences:
    """R trees, N steps in all, as sequences of T positions.

    Attributes:
        steps: the derivations.
        lengths: (R,), positions of each tree.
        step: (R, T), the step that a position belongs to; -1 at the start, N past the end.
        piece: (R, T), which piece of its sentence is read; -1 where none is.
        symbol: (R, T), COMPOSE or STACK where one is read, else -1.
        closed_by: (R, T), the first step after which a position is no longer on the stack; N if it stays there, -1 if it never
            was.
        depth: (R, T), positions below it on the stack; 0 past the end.
        last_position: (N,), where a step has been read and the next is predicted.
    """

    steps: Derivations
    lengths: torch.Tensor
    step: torch.Tensor
    piece: torch.Tensor
    symbol: torch.Tensor
    closed_by: torch.Tensor
    depth: torch.Tensor
    last_position: torch.Tensor

    @classmethod
    def of(
        cls, steps: Derivations, sentence_of_tree: torch.Tensor, first_piece: torch.Tensor, num_pieces: torch.Tensor
    ) -> "TreeSequences":
        """Sequences of R trees.

        Args:
            sentence_of_tree: (R,), which sentence each tree belongs to.
            first_piece, num_pieces: (B, n), of each word.
        """
        device, count = steps.tree.device, len(steps.tree)
        row, is_word = sentence_of_tree[steps.tree], steps.is_word
        pieces = num_pieces[row, steps.first]
        reads, stays = torch.where(is_word, pieces, 2), torch.where(is_word, pieces, 1)
        begin = torch.searchsorted(steps.tree, steps.tree)
        first_position = 1 + _before(reads, begin)
        last_position = first_position + reads - 1
        # A REDUCE leaves one position in the place of those of its two parts.
        change = torch.where(is_word, pieces, 1 - stays[steps.left] - stays[steps.right])
        depth_of_step = 1 + _before(change, begin) + change - stays
        numbers = torch.arange(count, device=device)
        closed_by_of_step = torch.full_like(numbers, count)
        for part in (steps.left, steps.right):
            closed_by_of_step[part[~is_word]] = numbers[~is_word]

        lengths = numbers.new_ones(steps.num_trees).scatter_reduce(0, steps.tree, last_position + 1, "amax")
        positions = torch.arange(int(lengths.max()), device=device)
        step = numbers.new_full((steps.num_trees, len(positions)), -1)
        step = step.index_put((steps.tree, first_position), numbers).cummax(1).values
        step = torch.where(positions < lengths.unsqueeze(1), step, count)
        known = step.clamp(0, count - 1)
        is_step, offset = (step >= 0) & (step < count), positions - first_position[known]
        reads_piece, reads_symbol = is_step & is_word[known], is_step & ~is_word[known]
        symbol = torch.where(reads_symbol, torch.where(offset == 0, COMPOSE, STACK), -1)
        on_stack = torch.where(reads_piece | (symbol == COMPOSE), closed_by_of_step[known], -1)
        return cls(
            steps=steps,
            lengths=lengths,
            step=step,
            piece=torch.where(reads_piece, first_piece[row[known], steps.first[known]] + offset, -1),
            symbol=symbol,
            closed_by=torch.where(positions == 0, count, on_stack),
            depth=torch.where(is_step, depth_of_step[known] + torch.where(reads_piece, offset, 0), 0),
            last_position=last_position,
        )

    @property
    def order(self) -> torch.Tensor:
        """(R, T), positions read before; 0 past the end."""
        positions = torch.arange(self.step.shape[1], device=self.step.device)
        return torch.where(positions < self.lengths.unsqueeze(1), positions, 0)

    @property
    def ends(self) -> torch.Tensor:
        """(R, T) bool, the last position of each tree, where the end of the sentence is predicted."""
        return torch.arange(self.step.shape[1], device=self.step.device) == self.lengths.unsqueeze(1) - 1

    @property
    def next_piece(self) -> torch.Tensor:
        """(R, T), the piece that is predicted; -1 where none is."""
        return functional.pad(self.piece[:, 1:], (0, 1), value=-1)

    @property
    def goes_on(self) -> torch.Tensor:
        """(R, T) bool, whether the next piece is one of the same word."""
        return functional.pad(self.step[:, 1:] == self.step[:, :-1], (0, 1)) & (self.piece >= 0)

    @property
    def stack_size(self) -> torch.Tensor:
        """(R, T), constituents on the stack, the one that is being read included; 0 at the start and past the end."""
        count = len(self.steps.tree)
        sizes = self.steps.stack_size[self.step.clamp(0, count - 1)]
        return torch.where((self.step >= 0) & (self.step < count), sizes, 0)

    def visible(self) -> torch.Tensor:
        """What each position sees: (R, T, T) bool, queries by keys. Everything sees itself, padding nothing else."""
        query, key = self.step.unsqueeze(2), self.closed_by.unsqueeze(1)
        composes = (self.symbol == COMPOSE).unsqueeze(2)
        visible = torch.where(composes, key == query, key > query).tril_()
        visible.diagonal(dim1=1, dim2=2).fill_(True)
        return visible


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask (B, Q, K) as attention adds it to its scores: (B, 1, Q, K). One of bools is right in sdpa alone."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min).unsqueeze(1)


def _before(values: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """(N,), the sum of the values of all earlier steps of the same tree, which begins at step `begin` (N,)."""
    total = values.cumsum(0) - values
    return total - total[begin]
