"""What several trees of the same sentence have in common, so that a model computes it once.

Two trees with a constituent in common, and the same inside it, can share its vector. Two derivations that begin with the same
steps can share the states of their stacks up to there: the stacks form a trie. All constituents of one height, and all stacks
of one size, are then one batch, and a model takes as many sequential calls as the highest tree has levels and the deepest
stack has elements, instead of 2n - 1.
"""

from dataclasses import dataclass

import torch

from hf_lvm.grammars.shift_reduce.derivations import Derivations, derivations_of


@dataclass(frozen=True)
class SharedDerivations:
    """The different constituents and the different stacks of a batch of trees.

    Constituents are numbered from 0 by height, the W words first; stacks by size, number 0 being the empty stack of all
    sentences.

    Attributes:
        steps: the derivations, N steps of R trees.
        word_sentence, word_position: (W,), where each word stands.
        constituent_levels: for each height from 1 on the numbers of the left and of the right parts; what they make up has the
            numbers that follow.
        stack_levels: for each size from 1 on the numbers of the stacks one smaller, and of the constituents on top.
        stack_of_step: (N,), the stack that each step leaves behind; -1 at a hidden step.
        step_of_stack: (S,), one of these steps for each stack but the empty one.
        sentence_of_tree: (R,).
    """

    steps: Derivations
    word_sentence: torch.Tensor
    word_position: torch.Tensor
    constituent_levels: list[tuple[torch.Tensor, torch.Tensor]]
    stack_levels: list[tuple[torch.Tensor, torch.Tensor]]
    stack_of_step: torch.Tensor
    step_of_stack: torch.Tensor
    sentence_of_tree: torch.Tensor


def share(spans: torch.Tensor, sentence_of_tree: torch.Tensor, word_ids: torch.Tensor | None = None) -> SharedDerivations:
    """The derivations of R trees with what they have in common.

    Args:
        spans: (R, n, n) bool, as for `derivations_of`.
        sentence_of_tree: (R,), which sentence each tree belongs to; only trees of one sentence share.
        word_ids: (B, S), for words of several pieces: the word of each piece of each sentence, -1 past the end. What is here
            called a word is then a piece.
    """
    of_trees = None if word_ids is None else word_ids[sentence_of_tree]
    steps = derivations_of(spans, of_trees)
    inside, before = _keys(steps, spans.shape[-1] if word_ids is None else word_ids.shape[1], sentence_of_tree)
    constituent_of_step, step_of_constituent = _different(inside)
    stack_of_step, step_of_stack = _different(before, steps.is_hidden)

    left, right = (_at(constituent_of_step, part[step_of_constituent]) for part in (steps.left, steps.right))
    constituent_of_step, step_of_constituent, sizes = _by_level(
        _heights(left, right), constituent_of_step, step_of_constituent, smallest=0
    )
    made = step_of_constituent[sizes[0] :]
    parts = [constituent_of_step[part[made]].split(sizes[1:]) for part in (steps.left, steps.right)]
    words = step_of_constituent[: sizes[0]]

    stack_of_step, step_of_stack, sizes = _by_level(steps.stack_size[step_of_stack], stack_of_step, step_of_stack, smallest=1)
    stack_of_step = stack_of_step + 1 if steps.is_hidden is None else torch.where(steps.is_hidden, -1, stack_of_step + 1)
    below, top = _at(stack_of_step, steps.below[step_of_stack], missing=0), constituent_of_step[step_of_stack]
    return SharedDerivations(
        steps=steps,
        word_sentence=sentence_of_tree[steps.tree[words]],
        word_position=steps.first[words],
        constituent_levels=list(zip(*parts, strict=True)),
        stack_levels=list(zip(below.split(sizes), top.split(sizes), strict=True)),
        stack_of_step=stack_of_step,
        step_of_stack=step_of_stack,
        sentence_of_tree=sentence_of_tree,
    )


def _keys(steps: Derivations, length: int, sentence_of_tree: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) each: a number for all that is inside a constituent, and one for all steps up to here.

    Both are sums of random numbers of 64 bits, one for each span: two different sets of spans have the same sum with
    probability 2^-64 (Zobrist 1970). What is inside a constituent was made by the steps from its first word to itself.
    """
    generator = torch.Generator().manual_seed(0)
    limit = torch.iinfo(torch.long)
    num_sentences = len(sentence_of_tree)
    numbers = torch.randint(limit.min, limit.max, (length * length + num_sentences,), generator=generator)
    of_span, of_sentence = numbers.to(steps.tree.device).split([length * length, num_sentences])
    of_step = of_span[steps.first * length + steps.last]
    total = of_step.cumsum(0)
    sentence = of_sentence[sentence_of_tree[steps.tree]]
    begin = torch.searchsorted(steps.tree, steps.tree)
    before_tree = (total - of_step)[begin]
    before_first_word = torch.where(steps.below < 0, before_tree, total[steps.below])
    return sentence + total - before_first_word, sentence + total - before_tree


def _different(keys: torch.Tensor, left_out: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of N steps the number of its key among the U different ones, (N,), and the first step that has it, (U,).

    Args:
        left_out: (N,) bool, steps whose keys do not count; their number is 0.
    """
    if left_out is not None:
        counted = (~left_out).nonzero().squeeze(1)
        number, first = _different(keys[counted])
        return torch.zeros_like(keys).index_put((counted,), number), counted[first]
    different, number = keys.unique(return_inverse=True)
    steps = torch.arange(len(keys), device=keys.device)
    return number, steps.new_zeros(len(different)).scatter_reduce(0, number, steps, "amin", include_self=False)


def _at(values: torch.Tensor, index: torch.Tensor, missing: int = -1) -> torch.Tensor:
    """values[index], and `missing` where the index is -1."""
    return torch.where(index < 0, missing, values[index])


def _heights(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """0 at words, 1 + the larger height of the two parts at constituents: (U,)."""
    height, is_word = torch.zeros_like(left), left < 0
    while True:
        higher = torch.where(is_word, 0, 1 + torch.maximum(height[left], height[right]))
        if torch.equal(higher, height):
            return height
        height = higher


def _by_level(
    level: torch.Tensor, number_of_step: torch.Tensor, step_of_number: torch.Tensor, smallest: int
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Numbers in the order of their levels, steps in the order of the numbers, and how many each level has."""
    order = level.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank[number_of_step], step_of_number[order], level.bincount()[smallest:].tolist()
