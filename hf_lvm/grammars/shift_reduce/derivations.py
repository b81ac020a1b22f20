"""Masks of binary trees to the steps that build them.

SHIFT puts the next word on a stack; REDUCE takes the two topmost constituents away and puts what they make up in their place.
A tree over n words takes 2n - 1 steps, in one order only, that of its constituents from left to right and children first. So
every constituent is made by one step, and every step leaves one stack behind: a step, its constituent and its stack are here
one number.
"""

from dataclasses import dataclass

import torch


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

    @property
    def is_word(self) -> torch.Tensor:
        """Whether the step is a SHIFT: (N,) bool."""
        return self.left < 0


def derivations_of(spans: torch.Tensor) -> Derivations:
    """The derivations of trees given as masks.

    Nothing is looked at but the mask: what is no binary tree gives steps that make no sense, and an empty mask none at all.

    Args:
        spans: (R, n, n) bool, True at [i, j] for each span i..j, both inclusive, single words too, as in `BinaryTreeCRF`.
    """
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
