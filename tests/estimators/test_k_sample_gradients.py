"""Both estimators of the K-sample bound's gradient against the exact one, summed over a grid of the noise, in float64.

The toy: z ~ N(prior_mean, 1), x | z ~ N(slope z, 0.6^2), q(z|x) = N(mean, stddev^2), one observed x. Each row of a batch is
one draw of the estimator, and each has parameters of its own, so one backward pass gives the gradient of every row.
"""

import functools
import math

import pytest
import torch
from torch.distributions import Independent, Normal

from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.estimators import DoublyReparameterized, Draws, Reparameterization
from hf_lvm.estimators.doubly_reparameterized import DoublyReparameterizedDraws
from hf_lvm.objectives import log_importance_weights, negative_iwae

OBSERVED = 1.4
NAMES = ("mean", "log_stddev", "slope", "prior_mean")
START = torch.tensor([0.1, -0.1, 0.8, -0.4], dtype=torch.float64)
ENCODER, OTHERS = slice(0, 2), slice(2, 4)
ESTIMATORS = {"reparameterization": Reparameterization(), "dreg": DoublyReparameterized()}


def log_likelihood(latents: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return Normal(slope * latents, 0.6).log_prob(torch.tensor(OBSERVED, dtype=torch.float64))


def rows_of_gradients(estimator, samples: int, kl_weight: float, rows: int, weigh=log_importance_weights):
    """The loss, and the gradient of the bound with respect to the four parameters as each row estimates it: (rows, 4)."""
    parameters = START.repeat(rows, 1).requires_grad_()
    mean, log_stddev, slope, prior_mean = parameters.unbind(1)
    posterior = DiagonalGaussian(mean[:, None], log_stddev.exp()[:, None])
    draws = estimator.draw(posterior, samples, torch.Generator().manual_seed(7))
    log_weights = weigh(
        log_likelihood(draws.latents.squeeze(-1), slope),
        Independent(Normal(prior_mean[:, None], 1.0), 1).log_prob(draws.latents),
        draws.log_posterior,
        kl_weight=kl_weight,
    )
    loss = negative_iwae(draws.surrogate(log_weights, kl_weight=kl_weight))
    (gradient,) = torch.autograd.grad(loss, parameters)
    return loss.item(), -gradient * rows


@functools.cache
def exact_gradient(samples: int, kl_weight: float, points: int = 61) -> tuple[float, torch.Tensor]:
    """The bound E[log 1/K sum w] and its gradient, summed over a grid of K independent noises."""
    noise = torch.linspace(-7, 7, points, dtype=torch.float64)
    grid = torch.cartesian_prod(*[noise] * samples).view(-1, samples).T
    mass = Normal(0.0, 1.0).log_prob(grid).sum(0).softmax(0)
    parameters = START.clone().requires_grad_()
    mean, log_stddev, slope, prior_mean = parameters
    latents = mean + log_stddev.exp() * grid
    log_ratio = Normal(prior_mean, 1.0).log_prob(latents) - Normal(mean, log_stddev.exp()).log_prob(latents)
    log_weights = log_likelihood(latents, slope) + kl_weight * log_ratio
    bound = (mass * (torch.logsumexp(log_weights, 0) - math.log(samples))).sum()
    return bound.item(), torch.autograd.grad(bound, parameters)[0]


def compare(estimator, samples: int, kl_weight: float = 1.0, rows: int = 150_000, **options) -> tuple[float, float]:
    """How far the mean estimate is from the exact gradient, and its standard error over the gradient's norm.

    The first is Hotelling's statistic, of the encoder's two parameters or of the other two, whichever is larger: in a linear
    model the gradients of a mean of q and of a mean of p are linearly dependent.
    """
    _, exact = exact_gradient(samples, kl_weight)
    _, estimates = rows_of_gradients(estimator, samples, kl_weight, rows, **options)
    deviation = estimates.mean(0) - exact
    covariance = estimates.T.cov() / rows
    parts = [deviation[part] @ torch.linalg.solve(covariance[part, part], deviation[part]) for part in (ENCODER, OTHERS)]
    return max(parts).item(), (covariance.trace().sqrt() / exact.norm()).item()


LIMIT = 18.4  # chi-squared with 2 degrees of freedom: one in ten thousand


def test_the_grid_is_fine_enough():
    for samples, kl_weight in ((2, 1.0), (3, 0.4)):
        (bound, gradient), (finer_bound, finer) = (exact_gradient(samples, kl_weight, points) for points in (61, 51))
        assert bound == pytest.approx(finer_bound, abs=1e-6)
        torch.testing.assert_close(gradient, finer, atol=1e-5, rtol=0)
    evidence = Normal(-0.4 * 0.8, (0.6**2 + 0.8**2) ** 0.5).log_prob(torch.tensor(OBSERVED, dtype=torch.float64)).item()
    bounds = [exact_gradient(samples, 1.0)[0] for samples in (1, 2, 3)]
    assert bounds == sorted(bounds) and bounds[-1] < evidence


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("samples", "kl_weight"), [(1, 1.0), (3, 1.0), (3, 0.4)])
def test_the_estimate_is_unbiased_and_precise(estimator, samples, kl_weight):
    statistic, relative_error = compare(ESTIMATORS[estimator], samples, kl_weight)
    assert relative_error < 0.02
    assert statistic < LIMIT


def test_the_value_is_the_bound_and_the_decoder_and_prior_have_their_ordinary_gradient():
    plain_loss, plain = rows_of_gradients(ESTIMATORS["reparameterization"], 3, 0.4, 150_000)
    loss, gradients = rows_of_gradients(ESTIMATORS["dreg"], 3, 0.4, 150_000)
    assert loss == pytest.approx(plain_loss, abs=1e-12)
    assert loss == pytest.approx(-exact_gradient(3, 0.4)[0], abs=0.02)
    torch.testing.assert_close(gradients[:, OTHERS], plain[:, OTHERS], rtol=1e-10, atol=1e-12)
    assert (gradients[:, ENCODER] - plain[:, ENCODER]).abs().mean() > 0.1  # row by row; in the mean they agree


class WithoutTheSquare(DoublyReparameterized):
    def _draw(self, posterior, num_samples, generator, features, temperature):
        return Draws(posterior.rsample((num_samples,), generator), posterior.detached())


class BlindDraws(DoublyReparameterizedDraws):
    def surrogate(self, log_weights, *, kl_weight=1.0):
        return super().surrogate(log_weights)


class BlindToTheWeightOfTheKL(DoublyReparameterized):
    def _draw(self, posterior, num_samples, generator, features, temperature):
        return BlindDraws(posterior.rsample((num_samples,), generator), posterior.detached())


def test_mutants_are_caught():
    assert compare(WithoutTheSquare(), 3)[0] > 1000
    assert compare(BlindToTheWeightOfTheKL(), 3, 0.4)[0] > 1000


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_reversed_sign_of_the_weights_is_caught(estimator):
    def reversed_ratio(log_likelihood, log_prior, log_posterior, kl_weight):
        return log_importance_weights(log_likelihood, log_posterior, log_prior, kl_weight=kl_weight)

    def reversed_weights(*terms, kl_weight):
        return -log_importance_weights(*terms, kl_weight=kl_weight)

    assert compare(ESTIMATORS[estimator], 3, weigh=reversed_ratio)[0] > 1000
    assert compare(ESTIMATORS[estimator], 3, weigh=reversed_weights)[0] > 1000


def test_more_samples_drown_the_plain_encoder_gradient_and_sharpen_the_doubly_reparameterized_one():
    def signal_to_noise(estimator: str, samples: int) -> float:
        _, gradients = rows_of_gradients(ESTIMATORS[estimator], samples, 1.0, 200_000 // samples)
        encoder = gradients[:, ENCODER]
        return (encoder.mean(0).abs() / encoder.std(0)).mean().item()

    plain = [signal_to_noise("reparameterization", samples) for samples in (2, 8, 32)]
    doubly = [signal_to_noise("dreg", samples) for samples in (2, 8, 32)]
    # Theory: a factor 1/2 and 2 for four times the samples.
    assert plain[1] < 0.75 * plain[0] and plain[2] < 0.75 * plain[1]
    assert doubly[1] > 1.4 * doubly[0] and doubly[2] > 1.4 * doubly[1]


def test_vectors_in_several_dimensions_are_weighted_as_wholes():
    mean = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    stddev = torch.full((2, 3), 0.7, dtype=torch.float64, requires_grad=True)
    posterior, estimator = DiagonalGaussian(mean, stddev), ESTIMATORS["dreg"]
    draws = estimator.draw(posterior, 4)
    latents = draws.latents
    weights = latents.sin().sum(-1) - draws.log_posterior
    loss = negative_iwae(draws.surrogate(weights))
    fixed = latents.detach()
    slope = fixed.cos() + (fixed - mean.detach()) / stddev.detach() ** 2
    expected = -(weights.detach().softmax(0).square().unsqueeze(-1) * slope).sum(0) / 2
    torch.testing.assert_close(torch.autograd.grad(loss, mean)[0], expected)


def test_it_runs_where_no_gradient_is_recorded():
    posterior, estimator = DiagonalGaussian(torch.zeros(2, 1), torch.ones(2, 1)), ESTIMATORS["dreg"]
    draws = estimator.draw(posterior, 3)
    weights = -draws.log_posterior
    assert draws.surrogate(weights) is weights


class WithoutDetached(Independent):
    def rsample(self, sample_shape=(), generator=None):
        return super().rsample(sample_shape)


def test_refusals():
    estimator = ESTIMATORS["dreg"]
    with pytest.raises(ValueError, match=r"'dreg' .* WithoutDetached has no method detached\(\)"):
        estimator.draw(WithoutDetached(Normal(torch.zeros(2, 3), 1.0), 1), 4)
    with pytest.raises(ValueError, match=r"log_weights has shape \(3, 2\) and the latents \(4, 2, 5\)"):
        estimator.draw(DiagonalGaussian(torch.zeros(2, 5), torch.ones(2, 5)), 4).surrogate(torch.zeros(3, 2))
    for name in ESTIMATORS:
        with pytest.raises(ValueError, match="Categorical has no reparameterized sample"):
            ESTIMATORS[name].draw(torch.distributions.Categorical(torch.ones(2, 3)), 1)
    with pytest.raises(ValueError, match=r"log_weights has shape \(3,\); the K-sample bound takes \(K, B\)"):
        negative_iwae(torch.zeros(3))


def test_a_detached_gaussian_has_the_same_density_and_no_gradient_to_its_parameters():
    mean, stddev = torch.randn(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    posterior, latents = DiagonalGaussian(mean, stddev), torch.randn(4, 2, 3, requires_grad=True)
    log_density = posterior.detached().log_prob(latents)
    torch.testing.assert_close(log_density, posterior.log_prob(latents))
    gradients = torch.autograd.grad(log_density.sum(), (mean, stddev, latents), allow_unused=True)
    assert gradients[0] is None and gradients[1] is None and gradients[2].abs().sum() > 0
    assert isinstance(ESTIMATORS["reparameterization"], Reparameterization)
