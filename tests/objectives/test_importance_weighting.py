import math

import pytest
import torch
from torch.distributions import Normal

from hf_lvm.objectives import (
    LikelihoodEstimate,
    estimate_from_log_weights,
    importance_weighted_bound,
    log_importance_weights,
    negative_iwae,
)


def linear_gaussian_weights(count: int, texts: int, spread: float = 1.3) -> tuple[torch.Tensor, float]:
    """log w for z ~ N(0, 1), x|z ~ N(z, 1), x = 1.5, so that p(x) = N(0, 2); the proposal is too wide."""
    x = torch.tensor(1.5, dtype=torch.float64)
    proposal = Normal(x / 2, spread * math.sqrt(0.5) * torch.ones(count, texts, dtype=torch.float64))
    z = proposal.sample()
    weights = log_importance_weights(Normal(z, 1.0).log_prob(x), Normal(0.0, 1.0).log_prob(z), proposal.log_prob(z))
    return weights, Normal(0.0, math.sqrt(2)).log_prob(x).item()


def test_it_is_the_log_of_the_mean_weight():
    weights = torch.tensor([[0.1, 2.0], [0.4, 3.0], [0.4, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(importance_weighted_bound(weights.log()), weights.mean(0).log())


def test_it_rises_with_the_samples_to_the_exact_value():
    log_weights, exact = linear_gaussian_weights(200, 4000)
    means = [importance_weighted_bound(log_weights[:count]).mean().item() for count in (1, 3, 20, 200)]
    assert means == sorted(means) and means[-1] == pytest.approx(exact, abs=2e-3) and means[0] < exact - 0.05


def test_the_standard_error_is_the_spread_of_repeated_estimates():
    log_weights, exact = linear_gaussian_weights(400, 2000)
    estimate = estimate_from_log_weights(log_weights)
    deviation = (estimate.log_likelihood - exact) / estimate.standard_error
    assert deviation.std().item() == pytest.approx(1, abs=0.08)
    assert abs(deviation.mean().item()) < 0.15


def test_the_effective_sample_size():
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).clamp(min=1e-30)
    estimate = estimate_from_log_weights(weights.log())
    torch.testing.assert_close(estimate.effective_sample_size, torch.tensor([4.0, 1.0], dtype=torch.float64))
    shifted = estimate_from_log_weights(weights.log() - 700)
    torch.testing.assert_close(shifted.effective_sample_size, estimate.effective_sample_size)
    torch.testing.assert_close(shifted.log_likelihood, estimate.log_likelihood - 700)


def test_a_low_sample_size_is_named():
    log_weights = torch.zeros(30, 3)
    log_weights[9:, 1] = -60.0  # 9 samples carry it
    log_weights[10:, 2] = -60.0  # 10 do
    estimate = estimate_from_log_weights(log_weights)
    assert estimate.low_sample_size.tolist() == [False, True, False]
    zeros = torch.zeros(2)
    assert LikelihoodEstimate(zeros, zeros, zeros + 1, exact=True).low_sample_size.tolist() == [False, False]


def test_what_was_summed_has_no_error():
    log_likelihood = torch.tensor([-3.0, -math.inf], dtype=torch.float64)
    estimate = LikelihoodEstimate.exactly(log_likelihood)
    assert estimate.log_likelihood is log_likelihood and estimate.exact and estimate.log_weights is None
    assert estimate.standard_error.tolist() == [0.0, 0.0]
    assert estimate.effective_sample_size.tolist() == [math.inf, math.inf]


def test_one_sample_has_no_standard_error():
    estimate = estimate_from_log_weights(torch.tensor([[-3.0, -4.0]]))
    assert estimate.standard_error.tolist() == [math.inf, math.inf]
    assert estimate.log_likelihood.tolist() == [-3.0, -4.0] and not estimate.exact


def test_it_is_computed_in_float64():
    log_weights = torch.tensor([[-300.0, -300.0 + 2e-5]], dtype=torch.float32).T.repeat(50, 1)
    assert estimate_from_log_weights(log_weights).log_likelihood.dtype == torch.float64


def test_the_exact_posterior_gives_every_sample_the_weight_of_the_evidence():
    # With the sign of prior and posterior reversed, or that of the whole, no two weights would be alike.
    log_weights, exact = linear_gaussian_weights(50, 3, spread=1.0)
    torch.testing.assert_close(log_weights, torch.full_like(log_weights, exact))
    assert negative_iwae(log_weights).item() == pytest.approx(-exact)


def test_the_weight_of_the_kl_is_in_the_log_weights():
    terms = [torch.randn(4, 3) for _ in range(3)]
    likelihood, prior, posterior = terms
    torch.testing.assert_close(log_importance_weights(*terms, kl_weight=0.3), likelihood + 0.3 * (prior - posterior))
    assert torch.equal(log_importance_weights(*terms, kl_weight=0.0), likelihood)
    assert log_importance_weights(likelihood.bfloat16(), prior, posterior).dtype == torch.float32


def test_the_training_loss_is_the_negative_bound_of_the_mean_sentence():
    weights = torch.tensor([[0.1, 2.0], [0.4, 3.0], [0.4, 1.0]], dtype=torch.float64, requires_grad=True)
    loss = negative_iwae(weights.log())
    assert loss.item() == pytest.approx(-(math.log(0.3) + math.log(2.0)) / 2)
    loss.backward()
    torch.testing.assert_close(weights.grad, -torch.tensor([[1 / 0.9, 1 / 6]] * 3, dtype=torch.float64) / 2)
