"""The best trees and samples of a distribution, each against all trees written down."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.distributions.binary_tree import BinaryTreeCRF, binary_tree
from hf_lvm.distributions.binary_tree.constraints import are_trees
from tests.distributions.binary_tree.enumeration import (
    all_trees,
    check_frequencies,
    places,
    random_trees,
    row_lengths,
    tree_scores,
)
from tests.tiny_parts import row_generators

LABELS = pytest.mark.parametrize("labels", [None, 2])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=80, deadline=None)
@given(
    batch=st.integers(1, 3),
    shape=st.one_of(st.tuples(st.integers(1, 7), st.none()), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    count=st.integers(1, 9),
    ragged=st.booleans(),
    forbidding=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_the_k_best_trees(batch, shape, count, **options):
    trees = random_trees(batch, *shape, **options)
    spans, scores = trees.k_best(count)
    assert spans.shape == (count, batch, *trees.event_shape) and scores.shape == (count, batch)
    for row in range(batch):
        exact, order = tree_scores(trees, row).sort(descending=True)
        possible = min(count, int((exact > -torch.inf).sum()))
        torch.testing.assert_close(scores[:possible, row], exact[:possible], rtol=1e-9, atol=1e-9)
        assert torch.equal(spans[:possible, row], all_trees(trees, row)[order[:possible]])
        assert (scores[possible:, row] == -torch.inf).all() and not spans[possible:, row].any()
    assert torch.equal(trees.argmax, spans[0]) and torch.equal(trees.mode, spans[0])
    torch.testing.assert_close(trees.max_score, scores[0])
    torch.testing.assert_close(trees.log_prob(trees.argmax), scores[0] - trees.log_partition)


@LABELS
def test_the_gradient_of_the_best_score_is_the_best_tree(labels):
    trees = random_trees(labels=labels)
    (gradient,) = torch.autograd.grad(trees.max_score.sum(), trees.scores)
    assert torch.equal(gradient, trees.argmax.double())


@pytest.mark.parametrize(("lengths", "labels"), [((6, 4, 1), None), ((4, 2, 1), 2)])
def test_samples_follow_the_probabilities(lengths, labels):
    trees = random_trees(3, lengths[0], labels, forbidding=True, seed=9, lengths=torch.tensor(lengths))
    samples = trees.sample((20_000,), seeded())
    for row in range(3):
        every = all_trees(trees, row)
        found = torch.bincount(places(samples[:, row], every), minlength=len(every)).double()
        check_frequencies(found, tree_scores(trees, row).softmax(0).detach())


@LABELS
def test_samples_with_their_log_probabilities(labels):
    trees = random_trees(3, 5, labels, ragged=True)
    spans, log_probs = trees.sample_and_log_prob((2, 3), seeded())
    assert spans.shape == (2, 3, *trees.scores.shape) and torch.equal(spans, trees.sample((2, 3), seeded()))
    torch.testing.assert_close(log_probs, trees.log_prob(spans))
    (gradient,) = torch.autograd.grad(log_probs[0, 0].sum(), trees.scores)
    torch.testing.assert_close(gradient, spans[0, 0].double() - trees.marginals)


@pytest.mark.parametrize(("length", "labels"), [(4, None), (2, 2)])
def test_distinct_trees_are_drawn_one_by_one_from_what_is_left(length, labels):
    """Pairs have p(first) p(second) / (1 - p(first))."""
    rows = 20_000
    one = random_trees(1, length, labels, seed=1)
    drawn = BinaryTreeCRF(one.scores.detach().expand(rows, *one.event_shape)).sample_without_replacement(2, seeded())
    every = all_trees(one, 0)
    first, second = (places(spans, every) for spans in drawn.spans)
    probability = tree_scores(one, 0).detach().softmax(0)
    of_pairs = probability.unsqueeze(1) * probability / (1 - probability).unsqueeze(1)
    of_pairs.fill_diagonal_(0.0)
    found = torch.bincount(first * len(every) + second, minlength=len(every) ** 2).double()
    check_frequencies(found, of_pairs.flatten())


@LABELS
def test_distinct_trees_are_weighted_without_bias(labels):
    """With k = 3, the first two weighed by p / P(above the threshold) sum to 1 in the mean (Kool et al. 2019, section 4.1)."""
    rows = 20_000
    one = random_trees(1, 3, labels, seed=2)
    drawn = BinaryTreeCRF(one.scores.detach().expand(rows, *one.event_shape)).sample_without_replacement(3, seeded())
    if labels is None:
        # There are two trees in all, so that nothing is left for a third.
        assert not drawn.spans[2].any() and (drawn.log_probs[2] == -torch.inf).all()
        torch.testing.assert_close(drawn.log_probs[:2].logsumexp(0), torch.zeros(rows, dtype=torch.float64))
        return
    above = -torch.expm1(-(drawn.log_probs[:2] - drawn.perturbed[2]).exp())
    total = (drawn.log_probs[:2].exp() / above).sum(0)
    assert (total.mean() - 1).abs() < 4 * total.std() / rows**0.5


@settings(max_examples=30, deadline=None)
@given(
    shape=st.one_of(st.tuples(st.integers(1, 5), st.none()), st.tuples(st.integers(1, 3), st.integers(1, 2))),
    count=st.integers(1, 9),
    forbidding=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_distinct_trees_are_different_and_as_many_as_there_are(shape, count, **options):
    trees = random_trees(3, *shape, ragged=True, **options)
    spans, log_probs, perturbed = trees.sample_without_replacement(count, seeded(options["seed"]))
    assert spans.shape == (count, *trees.scores.shape) and (perturbed.diff(dim=0)[~perturbed[1:].isinf()] <= 0).all()
    for row in range(3):
        possible = min(count, int((tree_scores(trees, row) > -torch.inf).sum()))
        assert len(places(spans[:possible, row], all_trees(trees, row)).unique()) == possible
        assert not spans[possible:, row].any() and (log_probs[possible:, row] == -torch.inf).all()
        exact = trees.log_prob(spans[:possible])[:, row]
        torch.testing.assert_close(log_probs[:possible, row], exact, rtol=1e-9, atol=1e-9)


@LABELS
def test_what_a_row_draws_depends_on_neither_the_batch_nor_its_padding(labels):
    trees, lengths = random_trees(3, 5, labels), torch.tensor([5, 2, 4])
    together = BinaryTreeCRF(trees.scores.detach(), lengths)
    draws = {
        "sample": lambda each, generator: each.sample((20,), generator),
        "distinct": lambda each, generator: each.sample_without_replacement(3, generator).spans,
        "relaxed": lambda each, generator: each.relaxed_sample((20,), 0.5, generator=generator),
    }
    for draw in draws.values():
        generators = row_generators(3)
        drawn = draw(together, generators)
        after = [torch.rand(3, generator=generator) for generator in generators]
        for row, length in enumerate(lengths.tolist()):
            alone, generator = BinaryTreeCRF(trees.scores.detach()[row : row + 1, :length, :length]), row_generators(3)[row]
            torch.testing.assert_close(drawn[:, row, :length, :length], draw(alone, [generator])[:, 0], rtol=1e-9, atol=1e-9)
            assert torch.equal(after[row], torch.rand(3, generator=generator))
    one, same, other = (together.sample((20,), seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert together.sample().shape == trees.scores.shape


@LABELS
def test_relaxed_samples(labels):
    rows, length = 200, 4
    uniform = random_trees(1, length, labels).scores.detach().mul(0).expand(rows, *([-1] * (3 if labels else 2)))
    trees = BinaryTreeCRF(uniform.clone().requires_grad_())
    hard, soft = (trees.relaxed_sample((), 0.5, hard=hard, generator=seeded()) for hard in (True, False))
    # Noise of its own in every sentence: equal ones would else all get the same tree.
    spans = hard.round().bool()
    shapes = spans if labels is None else spans.any(-1)
    assert ((hard == 0) | ((hard - 1).abs() < 1e-12)).all() and are_trees(shapes, None).all()
    assert len(shapes.flatten(1).unique(dim=0)) == 5
    assert soft.min() >= 0 and soft.max() < 1 + 1e-9 and ((soft > 0.01) & (soft < 0.99)).any()
    torch.testing.assert_close(soft.flatten(1).sum(1), torch.full((rows,), 2.0 * length - 1, dtype=torch.float64))
    one, other = (torch.autograd.grad(each.square()[:, 1, 2].sum(), trees.scores)[0] for each in (hard, soft))
    assert one.isfinite().all() and one.any() and other.any()
    # Towards temperature 0 they are the best tree; at a high one the noise is nothing, and what is left is uniform.
    torch.testing.assert_close(trees.relaxed_sample((), 1e-5, generator=seeded()), hard, rtol=0, atol=1e-6)
    high = trees.relaxed_sample((), 1e6, generator=seeded())
    torch.testing.assert_close(high, trees.marginals, rtol=0, atol=1e-4)


@LABELS
def test_the_gradient_of_a_relaxed_sample(labels):
    lengths = torch.tensor([3, 2])

    def relaxed(scores, hard=False):
        return BinaryTreeCRF(scores, lengths).relaxed_sample((2,), 0.7, hard=hard, generator=seeded())

    scores = random_trees(2, 3, labels).scores
    assert torch.autograd.gradcheck(relaxed, (scores,))
    weights = torch.arange(relaxed(scores).numel()).view_as(relaxed(scores))
    straight, soft = (torch.autograd.grad((weights * relaxed(scores, hard)).sum(), scores)[0] for hard in (True, False))
    torch.testing.assert_close(straight, soft)


@LABELS
def test_expanded_and_detached(labels):
    one = random_trees(1, 4, labels, lengths=torch.tensor([3]))
    wide = one.expand((4,))
    assert wide.batch_shape == (4,) and wide.event_shape == one.event_shape and row_lengths(wide) == [3] * 4
    assert wide.sample((2,)).shape == (2, 4, *one.event_shape)
    torch.testing.assert_close(wide.entropy(), one.entropy().expand(4))
    assert not one.detached().log_partition.requires_grad
    torch.testing.assert_close(one.detached().entropy(), one.entropy())
    with pytest.raises(ValueError, match=r"is not \(B,\)"):
        one.expand((2, 4))


@LABELS
def test_nothing_waits_for_a_value(labels):
    """Tensors of the meta device have no values: whatever would wait for one fails."""
    shape = (3, 5, 5) if labels is None else (3, 5, 5, labels)
    scores, lengths = torch.zeros(shape, device="meta", requires_grad=True), torch.ones(3, dtype=torch.long, device="meta")
    mask = torch.ones(shape, dtype=torch.bool, device="meta")
    trees = BinaryTreeCRF(scores, lengths).constrained(required=mask, forbidden=mask)
    other = BinaryTreeCRF(scores, lengths)
    spans, log_probs = trees.sample_and_log_prob((2,))
    values = [
        trees.log_partition,
        trees.marginals,
        trees.entropy(),
        trees.cross_entropy(other),
        log_probs,
        trees.log_prob(spans),
    ]
    values += [trees.max_score, trees.k_best(2).scores, trees.relaxed_sample((2,), hard=True)]
    assert trees.sample_without_replacement(2).spans.shape == spans.shape
    (gradient,) = torch.autograd.grad(sum(value.sum() for value in values), scores, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), scores)[0].shape == shape


# Noise of generators is drawn outside of a graph, so a compiled function has to do without one.
def test_compiled_samples_are_one_graph():
    lengths = torch.tensor([3, 1])

    def draw(scores):
        trees = BinaryTreeCRF(scores, lengths)
        distinct = trees.sample_without_replacement(2).spans
        return *trees.sample_and_log_prob((2,)), trees.relaxed_sample(), distinct, *trees.k_best(2)

    scores = random_trees(2, 3, 2).scores
    found = []
    for function in (torch.compile(draw, fullgraph=True, backend="eager"), draw):
        torch.manual_seed(0)
        found.append(function(scores))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_the_example_runs():
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (example,) = finder.find(BinaryTreeCRF, "BinaryTreeCRF", module=binary_tree, globs=vars(binary_tree) | {"torch": torch})
    assert runner.run(example) == doctest.TestResults(failed=0, attempted=len(example.examples)) and example.examples
