"""Every sum over sequences against all sequences written down, in float64, and what float32 leaves of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import kl_divergence

from hf_lvm.distributions.linear_chain import LinearChainCRF
from tests.distributions.linear_chain.enumeration import (
    all_paths,
    expected,
    gradients,
    padded,
    path_scores,
    random_chain,
    row_lengths,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}
CHAINS = {
    "batch": st.integers(1, 3),
    "length": st.integers(1, 4),
    "states": st.integers(1, 3),
    "shared": st.booleans(),
    "ragged": st.booleans(),
    "forbidding": st.booleans(),
    "scale": st.sampled_from([1.0, 50.0]),
    "seed": st.integers(0, 10_000),
}


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(CHAINS))
def test_log_partition_marginals_entropy_and_densities(options):
    chain = random_chain(**options)
    log_partition, entropy = [], []
    for row, length in enumerate(row_lengths(chain)):
        paths, log_probs = all_paths(chain, row), path_scores(chain, row).log_softmax(0)
        log_partition.append(path_scores(chain, row).logsumexp(0))
        entropy.append(-expected(log_probs.exp(), log_probs))
        ours = chain.log_prob(padded(paths, options["length"]).unsqueeze(1))[:, row]
        torch.testing.assert_close(ours, log_probs, **EXACT)
        one_hot = torch.nn.functional.one_hot(paths, options["states"]).double()
        nodes = torch.einsum("p,pti->ti", log_probs.exp(), one_hot)
        edges = torch.einsum("p,pti,ptj->tij", log_probs.exp(), one_hot[:, :-1], one_hot[:, 1:])
        torch.testing.assert_close(chain.unary_marginals[row, :length], nodes, **EXACT)
        torch.testing.assert_close(chain.marginals[row, : length - 1], edges, **EXACT)
        assert chain.unary_marginals[row, length:].eq(0).all() and chain.marginals[row, length - 1 :].eq(0).all()
    for ours, exact in ((chain.log_partition, log_partition), (chain.entropy(), entropy)):
        exact = torch.stack(exact)
        torch.testing.assert_close(ours, exact, **EXACT)
        # Different weights, so that a mixed-up row shows.
        weights = torch.arange(1, options["batch"] + 1)
        for one, other in zip(gradients(weights * ours, chain), gradients(weights * exact, chain), strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries(CHAINS))
def test_divergence_and_cross_entropy(options):
    posterior = random_chain(**options)
    others = {"seed": options["seed"] + 1, "forbidding": False, "shared": not options["shared"]}
    prior = random_chain(**options | others, lengths=posterior.lengths)
    cross_entropy, divergence = [], []
    for row in range(options["batch"]):
        log_p, log_q = (path_scores(chain, row).log_softmax(0) for chain in (posterior, prior))
        cross_entropy.append(-expected(log_p.exp(), log_q))
        divergence.append(expected(log_p.exp(), log_p - log_q))
    ours = (posterior.cross_entropy(prior), kl_divergence(posterior, prior))
    for value, exact in ((ours[0], cross_entropy), (ours[1], divergence)):
        exact = torch.stack(exact)
        torch.testing.assert_close(value, exact, **EXACT)
        found, wanted = gradients(value, posterior, prior), gradients(exact, posterior, prior)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


def test_divergence_where_the_two_forbid_different_sequences():
    open_chain, closed = random_chain(), random_chain(forbidding=True, seed=3)
    assert torch.isfinite(kl_divergence(closed, open_chain)).all()
    assert (kl_divergence(open_chain, closed) == torch.inf).all()
    gap = kl_divergence(closed, closed.detached())
    torch.testing.assert_close(gap, torch.zeros_like(gap), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shared", [False, True])
def test_derivatives_of_first_and_second_order(shared):
    lengths = torch.tensor([3, 1])
    one, other = (random_chain(2, 3, 2, shared=shared, seed=seed) for seed in (0, 1))

    def quantities(transitions, unary, others_transitions, others_unary):
        chain = LinearChainCRF(transitions, unary, lengths)
        divergence = kl_divergence(chain, LinearChainCRF(others_transitions, others_unary, lengths))
        scored = chain.log_prob(torch.tensor([[1, 0, 1], [1, 0, 0]]))
        return chain.log_partition, chain.marginals, chain.unary_marginals, chain.entropy(), divergence, scored

    scores = (one.transitions, one.unary, other.transitions, other.unary)
    assert gradcheck(quantities, scores)
    assert gradgradcheck(quantities, scores)
    # The gradient of the log-partition takes another way when it is to be differentiated again.
    log_partition = torch.tensor([2.0, -3.0]) * LinearChainCRF(*scores[:2], lengths).log_partition
    both = [torch.autograd.grad(log_partition.sum(), scores[:2], create_graph=graph) for graph in (True, False)]
    torch.testing.assert_close(*both, **EXACT)


def test_no_derivative_meets_a_forbidden_score_as_nan():
    chain = random_chain(forbidding=True)
    for value in (chain.log_partition, chain.entropy(), chain.marginals, chain.max_score, chain.log_prob(chain.argmax)):
        first = torch.autograd.grad(value.sum(), (chain.transitions, chain.unary), create_graph=True)
        assert all(gradient.isfinite().all() for gradient in first)
        if first[0].requires_grad:
            assert all(gradient.isfinite().all() for gradient in gradients(first[0].square(), chain))


def test_uses_of_one_chain_can_be_differentiated_one_after_the_other():
    chain = random_chain()
    with torch.no_grad():
        assert not chain.entropy().requires_grad and not chain.log_partition.requires_grad
    for _ in range(2):
        for use in (lambda: chain.log_partition, chain.entropy, lambda: chain.marginals, lambda: chain.log_prob(chain.argmax)):
            use().square().sum().backward()
    total = chain.log_partition.square() + chain.entropy().square() + chain.log_prob(chain.argmax).square()
    once = gradients(total.sum() + chain.marginals.square().sum(), chain)
    torch.testing.assert_close(chain.transitions.grad, 2 * once[0], **EXACT)
    torch.testing.assert_close(chain.unary.grad, 2 * once[1], **EXACT)


def test_one_table_of_transitions_is_that_of_every_row_and_position():
    chain = random_chain(shared=True, ragged=True)
    table = chain.transitions
    written_out = LinearChainCRF(table.expand(3, 3, 3, 3), chain.unary, chain.lengths)
    value = torch.randint(3, (5, 3, 4), generator=torch.Generator().manual_seed(0))
    for name in ("log_partition", "marginals", "unary_marginals", "entropy", "log_prob", "score", "max_score"):
        one, other = (getattr(each, name) for each in (chain, written_out))
        if callable(one):
            one, other = (each(value) if name in ("log_prob", "score") else each() for each in (one, other))
        torch.testing.assert_close(one, other, **EXACT)
        ours, theirs = (torch.autograd.grad(each.square().sum(), (table, chain.unary)) for each in (one, other))
        for first, second in zip(ours, theirs, strict=True):
            torch.testing.assert_close(first, second, **EXACT)
    assert torch.equal(chain.argmax, written_out.argmax)
    assert torch.equal(
        chain.sample((4,), torch.Generator().manual_seed(0)), written_out.sample((4,), torch.Generator().manual_seed(0))
    )


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf])
def test_what_stands_past_the_length_of_a_row_counts_for_nothing(rubbish):
    chain, lengths = random_chain(length=5), torch.tensor([5, 1, 3])
    outside = torch.arange(5) >= lengths.unsqueeze(1)
    transitions = chain.transitions.detach().masked_fill(outside[:, 1:, None, None], rubbish).requires_grad_()
    unary = chain.unary.detach().masked_fill(outside.unsqueeze(-1), rubbish).requires_grad_()
    together = LinearChainCRF(transitions, unary, lengths, validate_args=True)
    for row, length in enumerate(lengths.tolist()):
        alone = LinearChainCRF(chain.transitions[row : row + 1, : length - 1], chain.unary[row : row + 1, :length])
        torch.testing.assert_close(together.log_partition[row], alone.log_partition[0], **EXACT)
        torch.testing.assert_close(together.entropy()[row], alone.entropy()[0], **EXACT)
        assert torch.equal(together.argmax[row, :length], alone.argmax[0]) and not together.argmax[row, length:].any()
    value, same = together.argmax.masked_fill(outside, -100), LinearChainCRF(transitions.detach(), unary.detach(), lengths)
    torch.testing.assert_close(together.log_prob(value), together.max_score - together.log_partition, **EXACT)
    total = together.log_partition + together.entropy() + together.log_prob(value) + together.cross_entropy(same)
    edges, nodes = gradients(total, together)
    assert edges.isfinite().all() and nodes.isfinite().all()
    assert not edges[outside[:, 1:]].any() and not nodes[outside].any()


def test_a_hidden_markov_model():
    """Its log-partition is the log-likelihood of the words, which sums to 1 over all texts of a length."""
    generator = torch.Generator().manual_seed(0)
    initial, transition, emission = (
        torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1) for shape in ((3,), (3, 3), (3, 2))
    )
    words = torch.cartesian_prod(*[torch.arange(2)] * 4)
    unary = emission.T[words]
    unary[:, 0] += initial
    log_likelihood = LinearChainCRF(transition, unary).log_partition
    torch.testing.assert_close(log_likelihood.logsumexp(0), torch.zeros((), dtype=torch.float64), **EXACT)
    filtered = initial.exp()
    for word in words[5]:
        filtered = filtered * emission.exp()[:, word]
        likelihood, filtered = filtered.sum(), filtered @ transition.exp()
    torch.testing.assert_close(log_likelihood[5], likelihood.log(), **EXACT)


def test_float32_at_large_scores_and_five_hundred_positions():
    exact = random_chain(2, 500, 5, scale=25.0)
    single = LinearChainCRF(exact.transitions.float(), exact.unary.float())
    # The same numbers on both sides, so that only the arithmetic differs.
    exact = LinearChainCRF(single.transitions.double(), single.unary.double())
    other = random_chain(2, 500, 5, scale=25.0, seed=1)
    priors = [LinearChainCRF(other.transitions.to(dtype), other.unary.to(dtype)) for dtype in (torch.float32, torch.float64)]
    sample = exact.sample((8,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(single.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(single.marginals.double(), exact.marginals, rtol=0, atol=2e-5)
    torch.testing.assert_close(single.entropy().double(), exact.entropy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single.log_prob(sample).double(), exact.log_prob(sample), rtol=0, atol=2e-3)
    divergence = kl_divergence(exact, priors[1])
    torch.testing.assert_close(kl_divergence(single, priors[0]).double(), divergence, rtol=1e-6, atol=0)


def test_what_falls_far_behind_can_still_win():
    """State 1 loses 100 nats a step to state 0, to which the end is then forbidden: a probability would long be 0."""
    transitions = torch.tensor([[50.0, -torch.inf], [-torch.inf, -50.0]])
    unary = torch.zeros(1, 40, 2)
    unary[0, -1, 0] = -torch.inf
    chain = LinearChainCRF(transitions, unary)
    assert chain.log_partition.item() == -39 * 50.0 and chain.argmax.eq(1).all() and chain.sample().eq(1).all()
    torch.testing.assert_close(chain.unary_marginals[0, :, 1], torch.ones(40))


def test_autocast_and_half_precision_scores():
    chain = random_chain(ragged=True)
    half = LinearChainCRF(chain.transitions.bfloat16(), chain.unary.bfloat16(), chain.lengths)
    wide = LinearChainCRF(half.transitions.double(), half.unary.double(), chain.lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [half.log_partition, half.entropy(), half.log_prob(half.argmax), *gradients(half.entropy(), half)]
    exact = [wide.log_partition, wide.entropy(), wide.log_prob(wide.argmax), *gradients(wide.entropy(), wide)]
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_a_row_without_a_sequence_says_so_and_leaves_the_others_alone():
    chain = random_chain(2)
    unary = chain.unary.detach().clone()
    unary[1, 2] = -torch.inf
    broken = LinearChainCRF(chain.transitions, unary.requires_grad_())
    assert broken.log_partition[1] == -torch.inf and not broken.marginals[1].any() and not broken.argmax[1].any()
    torch.testing.assert_close(broken.log_partition[0], chain.log_partition[0])
    assert all(gradient.isfinite().all() for gradient in gradients(broken.log_partition + broken.entropy(), broken))
    with pytest.raises(ValueError, match=r"No sequence is possible in row\(s\) \[1\]"):
        LinearChainCRF(chain.transitions, unary, validate_args=True)
