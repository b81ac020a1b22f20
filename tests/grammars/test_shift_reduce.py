"""Masks of binary trees to the steps that build them, and what several derivations share."""

import torch

from hf_lvm.distributions import BinaryTreeCRF
from hf_lvm.grammars.shift_reduce import derivations_of, share, spans_of_pieces, trees_of_reduces
from tests.distributions.binary_tree.enumeration import all_masks


def trees_of(*lengths: int, count: int, size: int) -> torch.Tensor:
    """(count * len(lengths), size, size): for each k the k-th tree of every sentence, and from the first on again."""
    masks = [all_masks(length, size) for length in lengths]
    return torch.stack([each[k % len(each)] for k in range(count) for each in masks])


def simulated(mask: torch.Tensor) -> list[dict]:
    """The same steps with a stack and a loop."""
    spans = {tuple(span) for span in mask.nonzero().tolist()}
    stack, steps = [], []
    while True:
        reduces = len(stack) > 1 and (steps[stack[-2]]["first"], steps[stack[-1]]["last"]) in spans
        if steps:
            steps[-1]["reduces_next"] = reduces
        if reduces:
            right, left = stack.pop(), stack.pop()
            step = {"first": steps[left]["first"], "last": steps[right]["last"], "left": left, "right": right}
        else:
            word = sum(step["left"] < 0 for step in steps)
            if word == int(mask.diagonal().sum()):
                return steps
            step = {"first": word, "last": word, "left": -1, "right": -1}
        step["below"] = stack[-1] if stack else -1
        stack.append(len(steps))
        steps.append(step | {"stack_size": len(stack)})


def test_steps_are_those_of_a_stack():
    masks = trees_of(5, 4, 2, 1, count=14, size=6)
    steps = derivations_of(masks)
    begin = 0
    for tree, mask in enumerate(masks):
        expected = simulated(mask)
        rows = slice(begin, begin + len(expected))
        assert steps.tree[rows].tolist() == [tree] * len(expected)
        for name in ("first", "last", "stack_size", "reduces_next"):
            assert getattr(steps, name)[rows].tolist() == [step[name] for step in expected], name
        for name in ("left", "right", "below"):
            offset = [step[name] + begin if step[name] >= 0 else -1 for step in expected]
            assert getattr(steps, name)[rows].tolist() == offset, name
        begin += len(expected)
    assert begin == len(steps.tree) and steps.num_trees == len(masks)
    assert steps.is_word.sum() == 14 * 12


def content(steps, step: int):
    """A constituent as nested tuples of word positions."""
    if steps.left[step] < 0:
        return int(steps.first[step])
    return content(steps, int(steps.left[step])), content(steps, int(steps.right[step]))


def stack(steps, step: int) -> tuple:
    below = int(steps.below[step])
    return (*(stack(steps, below) if below >= 0 else ()), content(steps, step))


def test_what_is_equal_in_one_sentence_is_shared_and_nothing_else():
    sentences = torch.arange(3).repeat(20)
    masks = trees_of(5, 5, 3, count=20, size=5)
    shared = share(masks, sentences)
    steps = shared.steps
    sentence = sentences[steps.tree].tolist()
    constituents = [(sentence[step], content(steps, step)) for step in range(len(steps.tree))]
    stacks = [(sentence[step], stack(steps, step)) for step in range(len(steps.tree))]

    assert len(set(stacks)) == len(shared.step_of_stack) < len(stacks)
    numbers = shared.stack_of_step.tolist()
    assert len({*zip(stacks, numbers, strict=True)}) == len(set(stacks)) == len(set(numbers))
    assert [stacks[step] for step in shared.step_of_stack.tolist()] == [
        stacks[numbers.index(number)] for number in range(1, len(set(stacks)) + 1)
    ]

    # Built up again from the levels, constituents and stacks are what they were.
    made = [
        (int(sentence), int(position)) for sentence, position in zip(shared.word_sentence, shared.word_position, strict=True)
    ]
    for height, (left, right) in enumerate(shared.constituent_levels, start=1):
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            made.append((made[one][0], (made[one][1], made[other][1])))
            assert depth(made[-1][1]) == height
    assert len(made) == len(set(made)) and set(made) == set(constituents)
    piled = [()]
    for size, (below, top) in enumerate(shared.stack_levels, start=1):
        for one, other in zip(below.tolist(), top.tolist(), strict=True):
            piled.append((*piled[one], made[other]))
            assert len(piled[-1]) == size
    for step, number in enumerate(numbers):
        assert piled[number] == tuple((sentence[step], each) for each in stacks[step][1])


def depth(constituent) -> int:
    return 0 if isinstance(constituent, int) else 1 + max(map(depth, constituent))


def test_random_trees_take_fewer_calls_and_cells():
    generator = torch.Generator().manual_seed(0)
    crf = BinaryTreeCRF(torch.randn(16, 25, 25, generator=generator))
    spans = crf.sample((8,), generator)
    shared = share(spans.flatten(0, 1), torch.arange(16).repeat(8))
    assert len(shared.constituent_levels) + len(shared.stack_levels) < 49
    assert len(shared.step_of_stack) < 0.9 * len(shared.steps.tree)
    assert len(shared.steps.tree) == 16 * 8 * 49


def test_numbers_of_reduces_say_which_tree_it_is():
    lengths = (5, 4, 1)
    masks = trees_of(*lengths, count=14, size=6)
    steps = derivations_of(masks)
    made = torch.zeros(len(masks), 6, dtype=torch.long)
    made.index_put_((steps.tree, steps.last), (~steps.is_word).long(), accumulate=True)
    assert torch.equal(trees_of_reduces(made, torch.tensor(lengths * 14)), masks)
    # Cut after the third word, a right-branching tree is three trees.
    assert torch.equal(trees_of_reduces(torch.zeros(1, 3, dtype=torch.long), torch.tensor([3]))[0], torch.eye(3).bool())


def test_a_tree_over_words_is_one_over_pieces_that_branches_to_the_left_inside_words():
    spans = torch.zeros(1, 3, 3, dtype=torch.bool)
    spans[0, [0, 1, 2, 1, 0], [0, 1, 2, 2, 2]] = True
    word_ids = torch.tensor([[0, 0, 0, 1, 2, 2, -1]])
    found = {tuple(span) for span in spans_of_pieces(spans, word_ids)[0].nonzero().tolist()}
    single = {(place, place) for place in range(6)}
    assert found == single | {(0, 1), (0, 2), (4, 5)} | {(3, 5), (0, 5)}


def test_pushes_inside_words_leave_no_stack_behind():
    masks, word_ids = trees_of(3, 2, count=2, size=3), torch.tensor([[0, 0, 1, 2, 2, 2], [0, 1, 1, -1, -1, -1]])
    shared = share(masks, torch.tensor([0, 1, 0, 1]), word_ids)
    steps = shared.steps
    assert steps.is_hidden.sum() == 2 * (3 + 1)
    assert torch.equal(shared.stack_of_step == -1, steps.is_hidden)
    assert steps.continues_next.sum() == steps.is_hidden.sum() and not steps.chooses_action[steps.continues_next].any()
    # Every word is open after each of its pieces.
    assert steps.is_open.sum() == 2 * (6 + 3)
    assert len(shared.stack_levels) == 3
