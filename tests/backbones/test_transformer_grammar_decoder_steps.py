"""The transformer grammar step by step: the numbers of its scores, from a cache as deep as the stack."""

import pytest
import torch

from hf_lvm.backbones.transformer_grammar_decoder.families import SOUND_FAMILIES
from hf_lvm.generation.tree_sampling import sample_trees
from hf_lvm.generation.word_synchronous import word_synchronous_search
from hf_lvm.grammars.shift_reduce import Action, NextStep
from tests.backbones.test_transformer_grammar_decoder import EOS, random_words, steps_of, tiny
from tests.distributions.binary_tree.enumeration import all_masks, check_frequencies
from tests.grammars.test_shift_reduce import trees_of

# Families that compute in float64 what they are given in float64; RMS norms and a softmax by hand are in float32.
EXACT = {"gpt2": ("eager", "sdpa"), **dict.fromkeys(("opt", "gpt_neox", "phi", "stablelm", "starcoder2"), ("sdpa",))}


def chosen(step: NextStep, actions: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """log p of one choice a row: (B,)."""
    options = [step.shifts.gather(1, pieces[:, None])[:, 0], step.reduces]
    options.append(torch.full_like(step.reduces, -torch.inf))
    if step.continues is not None:
        options[Action.CONTINUE] = step.continues.gather(1, pieces[:, None])[:, 0]
    return torch.stack(options).gather(0, actions[None])[0]


@torch.no_grad()
def stepped(model, derivations: list[list[tuple[Action, int]]]) -> torch.Tensor:
    """log p of derivations, in one batch out of which go those that are at their end; the cache is looked at on the way."""
    state, rows, total = model.begin(len(derivations)), torch.arange(len(derivations)), torch.zeros(len(derivations)).double()
    stacks: list[list[int]] = [[] for _ in derivations]
    for place in range(max(map(len, derivations))):
        going = torch.tensor([place < len(derivations[row]) for row in rows.tolist()])
        state, rows = state.select(going.nonzero()[:, 0]), rows[going]
        actions, pieces = torch.tensor([derivations[row][place] for row in rows.tolist()]).unbind(1)
        step = model.next_step(state)
        everything = [step.reduces[:, None], step.shifts, *([] if step.continues is None else [step.continues])]
        torch.testing.assert_close(torch.cat(everything, 1).exp().sum(1), torch.ones(len(rows)).double())
        total[rows] += chosen(step, actions, pieces)
        state = model.advance(state, actions, pieces)
        for row, action in zip(rows.tolist(), actions.tolist(), strict=True):
            stack = stacks[row]
            if action == Action.REDUCE:
                stack[-2:] = [1]
            elif action == Action.CONTINUE:
                stack[-1] += 1
            else:
                stack.append(1)
        assert state.size.tolist() == [len(stacks[row]) for row in rows.tolist()]
        # The start, and what is on the deepest stack.
        held = [1 + sum(stacks[row]) for row in rows.tolist()]
        assert (state.owner >= 0).sum(1).tolist() == held
        assert {each.shape[2] for layer in state.memory for each in layer} == {max(held)}
    return total


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", SOUND_FAMILIES)
def test_steps_have_the_probabilities_of_the_score(family, attention):
    model = tiny(family, attention=attention, subwords=True, sizes={"num_hidden_layers": 2})
    spans, pieces = trees_of(4, 3, count=3, size=4).view(3, 2, 4, 4), random_words(2, 6)
    word_ids = torch.tensor([[0, 0, 1, 2, 3, 3], [0, 1, 1, 1, 2, -1]])
    words = [[pieces[row, word_ids[row] == word].tolist() for word in range(length)] for row, length in enumerate((4, 3))]
    derivations = [steps_of(words[row], spans[tree, row]) for tree in range(3) for row in range(2)]
    expected = model(pieces, spans, word_ids).log_prob.flatten()
    tolerance = 1e-9 if attention in EXACT.get(family, ()) else 2e-5
    torch.testing.assert_close(stepped(model, derivations), expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("positions", ["depth", "order"])
def test_steps_of_whole_words_have_the_probabilities_of_the_score(positions):
    model = tiny(positions=positions, sizes={"num_hidden_layers": 2})
    spans, words = trees_of(5, 1, count=14, size=5).view(14, 2, 5, 5), random_words(2, 5)
    derivations = [
        steps_of([[word] for word in words[row, :length].tolist()], spans[tree, row])
        for tree in range(14)
        for row, length in enumerate((5, 1))
    ]
    assert model.next_step(model.begin(1)).continues is None
    expected = model(words, spans).log_prob.flatten()
    torch.testing.assert_close(stepped(model, derivations), expected, rtol=0.0, atol=1e-9)


def test_states_that_are_chosen_and_joined_go_on_as_before():
    model = tiny(subwords=True)
    shift, reduce, goes_on = (torch.tensor([action]) for action in (Action.SHIFT, Action.REDUCE, Action.CONTINUE))
    piece = torch.tensor([1])
    one = model.advance(model.begin(1), shift, piece)
    two = model.advance(model.advance(one, goes_on, piece + 1), shift, piece)
    three = model.advance(two, reduce, piece)
    joined = one.join(three, two)
    assert joined.size.tolist() == [1, 1, 2] and joined.owner.shape == (3, 4)
    chosen_rows = joined.select(torch.tensor([1, 0, 1]))
    assert chosen_rows.size.tolist() == [1, 1, 1] and chosen_rows.owner.shape == (3, 2)
    actions = torch.tensor([Action.SHIFT, Action.SHIFT, Action.CONTINUE])
    for state, apart in ((joined, [one, three, two]), (chosen_rows, [three, one, three])):
        state = model.advance(state, actions, piece.expand(3))
        apart = [model.advance(each, actions[row : row + 1], piece) for row, each in enumerate(apart)]
        together = model.next_step(state)
        for row, each in enumerate(apart):
            step = model.next_step(each)
            for name in ("reduces", "shifts", "continues"):
                torch.testing.assert_close(getattr(together, name)[row], getattr(step, name)[0], rtol=0.0, atol=1e-10)
    assert joined.select(torch.tensor([], dtype=torch.long)).owner.shape == (0, 0)


def test_samples_have_the_frequencies_that_they_are_scored_with():
    model = tiny(vocab_size=4, subwords=True, sizes={"hidden_size": 4})
    with torch.no_grad():
        sampled = sample_trees(model, 1500, max_words=4, generator=torch.Generator().manual_seed(0))
        kept = sampled.finished.nonzero().squeeze(1)
        scores = model(sampled.pieces[kept], sampled.spans[kept].unsqueeze(0), sampled.word_ids[kept]).log_prob[0]
    keys = [
        (*sampled.pieces[row].tolist(), *sampled.word_ids[row].tolist(), *sampled.spans[row].nonzero().flatten().tolist())
        for row in kept.tolist()
    ]
    probability = dict(zip(keys, scores.exp().tolist(), strict=True))
    frequent = [key for key, value in probability.items() if value > 0.01]
    assert len(frequent) > 5
    counts = [keys.count(key) for key in frequent]
    wanted = [probability[key] for key in frequent]
    check_frequencies(torch.tensor([*counts, 1500 - sum(counts)]), torch.tensor([*wanted, 1 - sum(wanted)]))


@pytest.mark.parametrize("positions", ["depth", "order"])
def test_a_beam_that_holds_everything_finds_every_tree(positions):
    model, lengths, word_ids = (
        tiny(subwords=True, positions=positions),
        (4, 2),
        torch.tensor([[0, 0, 1, 2, 3], [0, 1, 1, -1, -1]]),
    )
    pieces = random_words(2, 5)
    found = word_synchronous_search(model, pieces, word_ids, num_trees=5, beam_size=50)
    for row, length in enumerate(lengths):
        masks = all_masks(length, length)
        with torch.no_grad():
            scores = model(pieces[row : row + 1], masks.unsqueeze(1), word_ids[row : row + 1]).log_prob[:, 0]
        order = scores.argsort(descending=True)
        torch.testing.assert_close(found.log_prob[row, : len(masks)], scores[order], rtol=0.0, atol=1e-9)
        assert torch.equal(found.spans[: len(masks), row, :length, :length], masks[order])


def test_gradients_reach_what_was_read_before():
    model = tiny(sizes={"num_hidden_layers": 2})
    state, total = model.begin(1), 0.0
    for action, piece in steps_of([[1], [2]], torch.tensor([[True, True], [False, True]])):
        action, piece = torch.tensor([action]), torch.tensor([piece])
        total = total + chosen(model.next_step(state), action, piece)[0]
        state = model.advance(state, action, piece) if piece != EOS else state
    score = model(torch.tensor([[1, 2]]), torch.tensor([[True, True], [False, True]])[None, None]).log_prob[0, 0]
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (total, score)]
    torch.testing.assert_close(*gradients, rtol=0.0, atol=1e-9)


def test_a_stack_has_to_fit_the_positions():
    model = tiny(sizes={"max_position_embeddings": 3})
    state, shift = model.begin(2), torch.tensor([Action.SHIFT, Action.SHIFT])
    for _ in range(2):
        state = model.advance(state, shift, torch.tensor([1, 1]))
    assert model.advance(state, shift + Action.REDUCE, shift).size.tolist() == [1, 1]
    with pytest.raises(ValueError, match="room for 3 positions: its deepest stack takes 4"):
        model.advance(state, shift, torch.tensor([1, 1]))
