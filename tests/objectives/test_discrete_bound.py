"""Objectives of discrete latents against sums over all values, in float64."""

import math

import pytest
import torch

from hf_lvm.distributions import CategoricalVector
from hf_lvm.estimators import build_estimator
from hf_lvm.objectives import discrete_bound, draw_candidates, draw_for, marginal_terms, risk


def model(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    posterior = CategoricalVector(torch.randn(3, 2, 3, generator=generator, dtype=torch.float64).requires_grad_())
    prior = CategoricalVector(torch.randn(3, 2, 3, generator=generator, dtype=torch.float64))
    table = 3 * torch.randn(3, 3, 3, generator=generator, dtype=torch.float64) - 6.0

    def log_likelihood(latents: torch.Tensor) -> torch.Tensor:
        return table[torch.arange(3), latents[..., 0], latents[..., 1]]

    return posterior, prior, log_likelihood


def test_the_marginal_is_the_sum_and_its_parts_are_those_of_the_exact_posterior():
    posterior, prior, log_likelihood = model()
    values = posterior.enumerate_support()
    scores, log_prior = log_likelihood(values), prior.log_prob(values)
    terms = marginal_terms(scores, log_prior)
    joint = (scores + log_prior).exp()
    torch.testing.assert_close(terms.loss, -joint.sum(0).log())
    responsibility = joint / joint.sum(0)
    torch.testing.assert_close(terms.log_posterior.exp(), responsibility)
    torch.testing.assert_close(terms.reconstruction, -(responsibility * scores).sum(0))
    torch.testing.assert_close(terms.kl, (responsibility * (responsibility.log() - log_prior)).sum(0))
    torch.testing.assert_close(terms.reconstruction + terms.kl, terms.loss)


@pytest.mark.parametrize("kl_weight", [0.3, 1.0, 2.5])
def test_a_weighted_marginal_is_the_best_weighted_bound_of_all_posteriors(kl_weight):
    posterior, prior, log_likelihood = model(1)
    values = posterior.enumerate_support()
    scores, log_prior = log_likelihood(values), prior.log_prob(values)
    terms = marginal_terms(scores, log_prior, kl_weight=kl_weight)
    best = (scores / kl_weight + log_prior).log_softmax(0)
    bound = (best.exp() * (-scores + kl_weight * (best - log_prior))).sum(0)
    torch.testing.assert_close(terms.loss, bound)
    other = posterior.log_prob(values).detach()
    assert (terms.loss <= (other.exp() * (-scores + kl_weight * (other - log_prior))).sum(0)).all()


def test_at_weight_zero_it_is_the_best_possible_value():
    scores = torch.tensor([[-3.0], [-1.0], [-2.0]])
    log_prior = torch.tensor([[0.5], [0.0], [0.5]]).log()
    assert marginal_terms(scores, log_prior, kl_weight=0.0).loss.item() == 2.0
    near = marginal_terms(scores, log_prior, kl_weight=1e-3).loss.item()
    assert near == pytest.approx(2.0, abs=0.01)
    assert marginal_terms(scores, log_prior).reconstruction.isfinite().all()
    with pytest.raises(ValueError, match="kl_weight must be 0 or more, but is -1"):
        marginal_terms(scores, log_prior, kl_weight=-1)


def test_the_bounds_stand_in_their_order():
    posterior, prior, log_likelihood = model(2)
    losses = {}
    for objective, estimator, samples in (("elbo", "exact", 1), ("iwae", "vimco", 8), ("marginal", "exact", 1)):
        total = torch.zeros(3, dtype=torch.float64)
        for seed in range(200 if objective == "iwae" else 1):
            draws = draw_for(objective, build_estimator(estimator), posterior, samples, torch.Generator().manual_seed(seed))
            total += discrete_bound(objective, draws, log_likelihood(draws.latents), prior).loss.detach()
        losses[objective] = total / (200 if objective == "iwae" else 1)
    assert (losses["elbo"] > losses["iwae"]).all() and (losses["iwae"] > losses["marginal"]).all()


@pytest.mark.parametrize("objective", ["elbo", "marginal", "iwae", "minimum_risk"])
def test_reported_parts_are_those_of_the_model(objective):
    posterior, prior, log_likelihood = model(3)
    name = {"elbo": "rloo", "marginal": "exact", "iwae": "vimco"}.get(objective)
    draws = draw_for(objective, name and build_estimator(name), posterior, 4, torch.Generator().manual_seed(0))
    terms = discrete_bound(objective, draws, log_likelihood(draws.latents), prior, kl_weight=0.2)
    assert terms.loss.shape == terms.reconstruction.shape == terms.kl.shape == (3,)
    assert not terms.reconstruction.requires_grad
    if objective != "marginal":
        torch.testing.assert_close(terms.kl, posterior.kl_per_dimension(prior).sum(-1))
        torch.testing.assert_close(terms.kl_per_dimension, posterior.kl_per_dimension(prior))
    if objective == "elbo":
        torch.testing.assert_close(terms.loss, terms.reconstruction + 0.2 * terms.kl)


def test_over_all_values_the_risk_is_the_expected_cost_with_its_gradient():
    _, _, log_likelihood = model(4)
    logits = torch.randn(3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    posterior = CategoricalVector(logits)
    values = posterior.enumerate_support()
    candidates = draw_candidates(posterior, 3_000, torch.Generator().manual_seed(0))
    assert len(candidates.latents[:, 0].unique(dim=0)) == 9  # all of them are there, many times
    ours = risk(candidates, -log_likelihood(candidates.latents))
    exact = -(posterior.log_prob(values).exp() * log_likelihood(values)).sum(0)
    torch.testing.assert_close(ours, exact)
    gradients = [torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (ours, exact)]
    torch.testing.assert_close(*gradients)


def test_candidates_count_once_and_the_reference_is_among_them():
    posterior = CategoricalVector(torch.tensor([[[1.0, 0.0, -1.0]]]))
    candidates = draw_candidates(posterior, 3, torch.Generator().manual_seed(0), reference=torch.tensor([[2]]))
    candidates.latents = torch.tensor([[[2]], [[0]], [[0]], [[2]]])
    assert candidates.is_repeated().flatten().tolist() == [False, False, True, True]
    weights = candidates.weights(sharpness=0.5).flatten()
    expected = torch.tensor([math.exp(-0.5), math.exp(0.5)])
    torch.testing.assert_close(weights, torch.cat([expected / expected.sum(), torch.zeros(2)]))
    # Reports are by what was drawn, as often as it was, so that they are bounds in the mean.
    assert candidates.mean(torch.tensor([[1.0], [2.0], [3.0], [7.0]])).item() == pytest.approx(4.0)
    drawn = draw_candidates(posterior, 2, torch.Generator().manual_seed(0))
    assert drawn.mean(torch.tensor([[1.0], [2.0]])).item() == pytest.approx(1.5)


def test_refusals():
    posterior, prior, log_likelihood = model()
    with pytest.raises(ValueError, match="compares candidates, and num_samples 1 gives one"):
        draw_candidates(posterior, 1)
    candidates = draw_candidates(posterior, 1, reference=torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="risk_sharpness must be positive, but is 0"):
        risk(candidates, torch.zeros(2, 3), sharpness=0)
    with pytest.raises(ValueError, match="Unknown objective 'elob'"):
        discrete_bound("elob", candidates, log_likelihood(candidates.latents), prior)
