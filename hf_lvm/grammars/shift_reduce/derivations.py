"""Masks of binary trees to the steps that build them.

SHIFT puts the next word on a stack; REDUCE takes the two topmost constituents away and puts what they make up in their place.
A tree over n words takes 2n - 1 steps, in one order only, that of its constituents from left to right and children first. So
every constituent is made by one step, and every step leaves one stack behind: a step, its constituent and its stack are here
one number.
"""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from hf_lvm.grammars.shift_reduce.pieces import begins_word, spans_of_pieces


@dataclass(frozen=True)
class Derivations:
    """The N steps of R trees, tree by tree, each a row of every tensor (N,).

    Attributes:
        tree: which of the R trees.
        first, last: first and last word of the constituent, inclusive.
        left, right: the steps that made its two parts; -1 at a SHIFT.
        below: the step that made the next constituent on the stack; -1 where the stack holds this one alone.
        stack_size: constituents on the stack after the step.
        reduces_next: whether the next step is a REDUCE; False also at the end of a tree.
        num_trees: R.
        is_open, continues_next, is_hidden: only where words are several pieces: whether the constituent is a word, all of it
            or its beginning, that nothing has been done to; whether it goes on; whether the step pushes a piece that a word
            goes on with, after which nothing is decided.
    """

    tree: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    below: torch.Tensor
    stack_size: torch.Tensor
    reduces_next: torch.Tensor
    num_trees: int
    is_open: torch.Tensor | None = None
    continues_next: torch.Tensor | None = None
    is_hidden: torch.Tensor | None = None

    @property
    def is_word(self) -> torch.Tensor:
        """Whether the step is a SHIFT: (N,) bool."""
        return self.left < 0

    @property
    def chooses_action(self) -> torch.Tensor:
        """Whether REDUCE or SHIFT is decided after the step: (N,) bool."""
        chooses = self.stack_size > 1
        return chooses if self.is_hidden is None else chooses & ~self.is_hidden & ~self.continues_next


def derivations_of(spans: torch.Tensor, word_ids: torch.Tensor | None = None) -> Derivations:
    """The derivations of trees given as masks.

    Nothing is looked at but the mask: what is no binary tree gives steps that make no sense, and an empty mask none at all.

    Args:
        spans: (R, n, n) bool, True at [i, j] for each span i..j, both inclusive, single words too, as in `BinaryTreeCRF`.
        word_ids: (R, S), the word of each piece, -1 past the end; the steps are then over pieces, of trees over words.
    """
    if word_ids is not None:
        steps = derivations_of(spans_of_pieces(spans, word_ids))
        following = functional.pad(word_ids, (0, 1), value=-1)[steps.tree, steps.last + 1]
        first, last = word_ids[steps.tree, steps.first], word_ids[steps.tree, steps.last]
        is_hidden = steps.is_word & ~begins_word(word_ids)[steps.tree, steps.first]
        is_open = (first == last) & ~is_hidden
        return replace(steps, is_open=is_open, continues_next=is_open & (following == last), is_hidden=is_hidden)
    length = spans.shape[-1]
    # By last word, and then the narrowest first: the order in which the constituents are made.
    tree, last, reversed_first = spans.transpose(1, 2).flip(2).nonzero(as_tuple=True)
    first = length - 1 - reversed_first
    steps = torch.arange(len(tree), device=spans.device)
    is_word = first == last
    step_of_word = spans.new_zeros(len(spans), length, dtype=torch.long)
    step_of_word[tree[is_word], first[is_word]] = steps[is_word]
    # Before a word is shifted, the stack ends with what the step before that made: the widest constituent up to there.
    below = torch.where(first == 0, -1, step_of_word[tree, first] - 1)
    right = torch.where(is_word, -1, steps - 1)
    left = torch.where(is_word, -1, below[right])
    # A SHIFT makes the stack one larger, a REDUCE one smaller.
    change = torch.where(is_word, 1, -1)
    height = change.cumsum(0)
    begin = torch.searchsorted(tree, tree)
    stack_size = height - (height - change)[begin]
    reduces_next = torch.zeros_like(is_word)
    reduces_next[:-1] = (tree[1:] == tree[:-1]) & (last[1:] == last[:-1])
    return Derivations(tree, first, last, left, right, below, stack_size, reduces_next, len(spans))


def trees_of_reduces(reduces: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Masks of trees, (R, n, n) bool, from how many REDUCEs follow each word, (R, n), of `lengths` (R,) words.

    What is no whole tree gives the spans of the trees on the stack.
    """
    place = torch.arange(reduces.shape[1], device=reduces.device)
    # How large the stack is with each word on top, and after the REDUCEs that follow it.
    height = (1 - reduces).cumsum(1) + reduces
    lowest = height - reduces
    # A constituent begins at the last word to have been put where it stands on the stack: none after it stood as low.
    later = height.unsqueeze(1).masked_fill(place.unsqueeze(1) >= place, torch.iinfo(height.dtype).max)
    begins = height.unsqueeze(2) < later.cummin(2).values
    # One for each size of the stack from that with the last word on top down to that after its REDUCEs.
    reached = height.unsqueeze(2) >= lowest.unsqueeze(1)
    within = (place.unsqueeze(1) <= place) & (place < lengths.unsqueeze(1)).unsqueeze(1)
    return begins & reached & within
