"""Every sum over trees against all trees written down, in float64, and what float32 leaves of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from hf_lvm.distributions.binary_tree import BinaryTreeCRF
from tests.distributions.binary_tree.enumeration import all_trees, expected, gradients, random_trees, tree_scores

EXACT = {"rtol": 1e-9, "atol": 1e-9}
TREES = {
    "batch": st.integers(1, 3),
    # Every tree of a row is written down: 132 over 7 words, 640 over 4 with 2 labels.
    "shape": st.one_of(
        st.tuples(st.integers(1, 7), st.none()),
        st.tuples(st.integers(1, 4), st.integers(1, 2)),
        st.tuples(st.integers(1, 3), st.just(3)),
    ),
    "ragged": st.booleans(),
    "forbidding": st.booleans(),
    "scale": st.sampled_from([1.0, 50.0]),
    "seed": st.integers(0, 10_000),
}


def as_trees(shape: tuple[int, int | None], **options) -> BinaryTreeCRF:
    return random_trees(length=shape[0], labels=shape[1], **options)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries(TREES))
def test_log_partition_marginals_entropy_and_densities(options):
    trees = as_trees(**options)
    log_partition, entropy, marginals = [], [], []
    for row in range(options["batch"]):
        spans, log_probs = all_trees(trees, row), tree_scores(trees, row).log_softmax(0)
        log_partition.append(tree_scores(trees, row).logsumexp(0))
        entropy.append(-expected(log_probs.exp(), log_probs))
        marginals.append(torch.einsum("t,t...->...", log_probs.exp(), spans.double()))
        torch.testing.assert_close(trees.log_prob(spans.unsqueeze(1))[:, row], log_probs, **EXACT)
    torch.testing.assert_close(trees.marginals, torch.stack(marginals), **EXACT)
    for ours, exact in ((trees.log_partition, log_partition), (trees.entropy(), entropy)):
        exact = torch.stack(exact)
        torch.testing.assert_close(ours, exact, **EXACT)
        # Different weights, so that a mixed-up row shows.
        weights = torch.arange(1, options["batch"] + 1)
        (found,), (wanted,) = gradients(weights * ours, trees), gradients(weights * exact, trees)
        torch.testing.assert_close(found, wanted, **EXACT)


@settings(max_examples=80, deadline=None)
@given(st.fixed_dictionaries(TREES))
def test_divergence_and_cross_entropy(options):
    posterior = as_trees(**options)
    prior = as_trees(**options | {"seed": options["seed"] + 1, "forbidding": False}, lengths=posterior.lengths)
    cross_entropy, divergence = [], []
    for row in range(options["batch"]):
        log_p, log_q = (tree_scores(trees, row).log_softmax(0) for trees in (posterior, prior))
        cross_entropy.append(-expected(log_p.exp(), log_q))
        divergence.append(expected(log_p.exp(), log_p - log_q))
    ours = (posterior.cross_entropy(prior), kl_divergence(posterior, prior))
    for value, exact in zip(ours, (cross_entropy, divergence), strict=True):
        exact = torch.stack(exact)
        torch.testing.assert_close(value, exact, **EXACT)
        found, wanted = gradients(value, posterior, prior), gradients(exact, posterior, prior)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("labels", [None, 2])
def test_divergence_where_the_two_forbid_different_trees(labels):
    free, closed = random_trees(labels=labels), random_trees(labels=labels, forbidding=True, seed=3)
    assert torch.isfinite(kl_divergence(closed, free)).all()
    for row, divergence in enumerate(kl_divergence(free, closed)):
        assert (divergence == torch.inf) == (tree_scores(closed, row) == -torch.inf).any()
    assert (kl_divergence(free, closed) == torch.inf).any()
    gap = kl_divergence(closed, closed.detached())
    torch.testing.assert_close(gap, torch.zeros_like(gap), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("length", "labels"), [(4, None), (3, 2)])
def test_derivatives_of_first_and_second_order(length, labels):
    lengths = torch.tensor([length, 1])
    one, other = (random_trees(2, length, labels, seed=seed).scores for seed in (0, 1))

    def quantities(scores, others_scores):
        trees = BinaryTreeCRF(scores, lengths)
        divergence = kl_divergence(trees, BinaryTreeCRF(others_scores, lengths))
        return trees.log_partition, trees.marginals, trees.entropy(), divergence, trees.log_prob(trees.argmax)

    assert gradcheck(quantities, (one, other))
    assert gradgradcheck(quantities, (one, other), fast_mode=True)


@pytest.mark.parametrize("labels", [None, 2])
def test_no_derivative_meets_a_forbidden_score_as_nan(labels):
    trees = random_trees(3, 5, labels, forbidding=True)
    for value in (trees.log_partition, trees.entropy(), trees.marginals, trees.max_score, trees.log_prob(trees.argmax)):
        (first,) = torch.autograd.grad(value.sum(), trees.scores, create_graph=True)
        assert first.isfinite().all()
        if first.requires_grad:
            (second,) = torch.autograd.grad(first.square().sum(), trees.scores, create_graph=True)
            assert second.isfinite().all()
            if second.requires_grad:
                assert gradients(second.square(), trees)[0].isfinite().all()


@pytest.mark.parametrize("labels", [None, 2])
def test_uses_of_one_distribution_can_be_differentiated_one_after_the_other(labels):
    trees = random_trees(labels=labels)
    with torch.no_grad():
        assert not trees.entropy().requires_grad and not trees.log_partition.requires_grad
    wanted = gradients(trees.log_partition, trees)[0]
    for _ in range(2):
        (trees.log_partition + trees.entropy() + trees.marginals.flatten(1).sum(1)).sum().backward()
    torch.testing.assert_close(gradients(trees.log_partition, trees)[0], wanted, **EXACT)
    again = gradients(trees.log_partition + trees.entropy() + trees.marginals.flatten(1).sum(1), trees)[0]
    torch.testing.assert_close(trees.scores.grad, 2 * again, **EXACT)


@pytest.mark.parametrize("labels", [None, 2])
@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf])
def test_what_stands_below_the_diagonal_or_past_a_length_counts_for_nothing(rubbish, labels):
    plain, lengths = random_trees(3, 5, labels), torch.tensor([5, 1, 3])
    positions = torch.arange(5)
    outside = (positions >= lengths.unsqueeze(1)).unsqueeze(1) | (positions.unsqueeze(1) > positions)
    if labels is not None:
        outside = outside.unsqueeze(-1).expand(plain.scores.shape)
    scores = plain.scores.detach().masked_fill(outside, rubbish).requires_grad_()
    together = BinaryTreeCRF(scores, lengths, validate_args=True)
    for row, length in enumerate(lengths.tolist()):
        alone = BinaryTreeCRF(plain.scores[row : row + 1, :length, :length])
        torch.testing.assert_close(together.log_partition[row], alone.log_partition[0], **EXACT)
        torch.testing.assert_close(together.entropy()[row], alone.entropy()[0], **EXACT)
        torch.testing.assert_close(together.marginals[row, :length, :length], alone.marginals[0], **EXACT)
        for ours, theirs in ((together.argmax, alone.argmax), (together.k_best(2).spans[1], alone.k_best(2).spans[1])):
            assert torch.equal(ours[row, :length, :length], theirs[0])
    assert not together.argmax[outside].any() and not together.marginals[outside].any()
    value = together.argmax | outside
    torch.testing.assert_close(together.log_prob(value), together.max_score - together.log_partition, **EXACT)
    same = BinaryTreeCRF(scores.detach(), lengths)
    total = together.log_partition + together.entropy() + together.log_prob(value) + together.cross_entropy(same)
    (gradient,) = gradients(total, together)
    assert gradient.isfinite().all() and not gradient[outside].any()
    (first,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    assert gradients(first.square(), together)[0].isfinite().all()


def test_float32_at_large_scores():
    """Twice the length of a long sentence at scores far beyond what a network gives: log Z is about 7,000."""
    single = random_trees(2, 80, scale=25.0).scores.detach().float()
    single, exact = BinaryTreeCRF(single), BinaryTreeCRF(single.double())
    torch.testing.assert_close(single.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(single.marginals.double(), exact.marginals, rtol=0, atol=5e-3)
    torch.testing.assert_close(single.entropy().double(), exact.entropy(), rtol=1e-2, atol=0)


def test_autocast_and_half_precision_scores():
    trees = random_trees(ragged=True, length=6)
    half = BinaryTreeCRF(trees.scores.detach().bfloat16().requires_grad_(), trees.lengths, validate_args=True)
    wide = BinaryTreeCRF(half.scores.detach().double().requires_grad_(), trees.lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [half.log_partition, half.entropy(), half.log_prob(half.argmax), *gradients(half.entropy(), half)]
    exact = [wide.log_partition, wide.entropy(), wide.log_prob(wide.argmax), *gradients(wide.entropy(), wide)]
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_a_row_without_a_tree_says_so_and_leaves_the_others_alone():
    plain = random_trees(4, 4)
    scores = plain.scores.detach().clone()
    scores[1, 0, 3] = scores[2, 1, 1] = scores[3, 0, 1] = scores[3, 2, 3] = scores[3, 1, 2] = -torch.inf
    broken = BinaryTreeCRF(scores.requires_grad_())
    assert (broken.log_partition[1:] == -torch.inf).all() and (broken.max_score[1:] == -torch.inf).all()
    masks = [broken.argmax, *broken.k_best(2).spans, *broken.sample((2,)), *broken.sample_without_replacement(2).spans]
    for mask in (broken.marginals, *masks):
        assert mask[0].any() and not mask[1:].any()
    torch.testing.assert_close(broken.log_partition[0], plain.log_partition[0], **EXACT)
    total = broken.log_partition + broken.entropy() + broken.max_score
    assert gradients(total, broken)[0].isfinite().all()
    with pytest.raises(ValueError, match=r"No tree is possible in row\(s\) \[1, 2, 3\]"):
        BinaryTreeCRF(scores, validate_args=True)


@pytest.mark.parametrize("labels", [None, 2])
@pytest.mark.parametrize("mask", [-1e31, torch.finfo(torch.float32).min])
def test_the_lowest_numbers_forbid_as_minus_infinity_does(mask, labels):
    exact = random_trees(3, 6, labels, forbidding=True).scores.detach().float()
    exact, masked = BinaryTreeCRF(exact.requires_grad_()), BinaryTreeCRF(exact.nan_to_num(neginf=mask).requires_grad_())
    for name in ("log_partition", "marginals", "argmax", "entropy"):
        ours, theirs = (getattr(each, name) for each in (masked, exact))
        if callable(ours):
            ours, theirs = ours(), theirs()
        torch.testing.assert_close(ours, theirs)
        if ours.requires_grad:
            torch.testing.assert_close(gradients(ours.square(), masked), gradients(theirs.square(), exact))
    assert torch.equal(
        masked.sample((20,), torch.Generator().manual_seed(0)), exact.sample((20,), torch.Generator().manual_seed(0))
    )
    everything = BinaryTreeCRF(torch.full_like(masked.scores, mask))
    assert (
        not everything.marginals.any()
        and not everything.sample().any()
        and not everything.sample_without_replacement(2).spans.any()
    )


def test_nothing_of_the_size_of_all_splits_is_kept_for_the_backward_pass():
    batch, length = 2, 24
    scores, kept = torch.randn(batch, length, length, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        trees = BinaryTreeCRF(scores)
        total = trees.log_partition + trees.entropy() + trees.marginals.square().sum((1, 2))
    assert max(tensor.numel() for tensor in kept) <= batch * length * (length + 1)
    assert sum({tensor.untyped_storage().data_ptr(): tensor.numel() for tensor in kept}.values()) < 8 * batch * length**2
    total.sum().backward()
    assert scores.grad.isfinite().all()


# Tracing is what may fail; what a compiler makes of the graph is its own affair. The second traces the backward pass too.
@pytest.mark.parametrize(("backend", "labels"), [("eager", 2), pytest.param("aot_eager", None, marks=pytest.mark.slow)])
def test_a_compiled_function_is_one_graph(backend, labels):
    lengths = torch.tensor([4, 1, 3])

    def sums(scores):
        trees = BinaryTreeCRF(scores, lengths)
        divergence = kl_divergence(trees, BinaryTreeCRF(-scores.detach(), lengths))
        return trees.log_partition, trees.marginals, divergence

    scores = random_trees(3, 4, labels).scores
    compiled = torch.compile(sums, fullgraph=True, backend=backend)
    found, wanted = compiled(scores), sums(scores)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    ours, theirs = (torch.autograd.grad(sum(value.square().sum() for value in each), scores)[0] for each in (found, wanted))
    torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("labels", [None, 2])
def test_single_words(labels):
    scores = random_trees(2, 1, labels).scores
    trees = BinaryTreeCRF(scores, torch.ones(2, dtype=torch.long))
    flat = scores.view(2, -1)
    torch.testing.assert_close(trees.log_partition, flat.logsumexp(1))
    torch.testing.assert_close(trees.entropy(), torch.distributions.Categorical(logits=flat).entropy())
    torch.testing.assert_close(trees.marginals, gradients(trees.log_partition, trees)[0])
    assert torch.equal(trees.argmax.view(2, -1).long().argmax(1), flat.argmax(1))
    for masks in (trees.argmax, *trees.sample((3,)), trees.sample_without_replacement(2).spans[0]):
        assert (masks.flatten(1).sum(1) == 1).all()
    assert trees.sample_without_replacement(2).spans[1].any() == (labels is not None)
    torch.testing.assert_close(trees.relaxed_sample().flatten(1).sum(1), torch.ones(2, dtype=torch.float64))
