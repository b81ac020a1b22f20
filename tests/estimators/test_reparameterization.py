"""Plain reparameterization against the exact gradient of an expectation."""

import pytest
import torch
from torch.distributions import Categorical

from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.estimators import Reparameterization


def objective(latents: torch.Tensor) -> torch.Tensor:
    return torch.sin(2 * latents).sum(-1) + latents.prod(-1)


def exact_gradient(mean: torch.Tensor, stddev: torch.Tensor) -> torch.Tensor:
    """Of E[objective], by a dense grid over two dimensions."""
    points = torch.linspace(-9, 9, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(points, points)
    density = DiagonalGaussian(mean, stddev).log_prob(grid.unsqueeze(1)).exp()
    expectation = (density * objective(grid).unsqueeze(1)).sum(0) * (points[1] - points[0]) ** 2
    return torch.cat([part.flatten() for part in torch.autograd.grad(expectation.sum(), (mean, stddev))])


def statistic(estimator, samples: int = 40_000, repeats: int = 40) -> tuple[float, float]:
    """Chi-squared of the mean estimate around the exact gradient; standard error over the gradient norm."""
    mean = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    stddev = torch.tensor([[0.7, 1.2]], dtype=torch.float64, requires_grad=True)
    exact = exact_gradient(mean, stddev)
    estimates = []
    for _ in range(repeats):
        latents = estimator(DiagonalGaussian(mean, stddev), samples)
        value = objective(latents).mean()
        gradients = torch.autograd.grad(value, (mean, stddev), allow_unused=True)
        estimates.append(torch.cat([torch.zeros(2) if part is None else part.flatten() for part in gradients]))
    estimates = torch.stack(estimates)
    error = estimates.std(0) / repeats**0.5
    joint = (((estimates.mean(0) - exact) / error.clamp(min=1e-12)) ** 2).sum().item()
    return joint, (error.norm() / exact.norm()).item()


def test_the_estimate_is_unbiased_and_precise():
    joint, relative_error = statistic(lambda posterior, samples: Reparameterization().draw(posterior, samples).latents)
    assert relative_error < 0.02
    assert joint < 23.5  # chi-squared with 4 degrees of freedom: one in ten thousand


def test_a_mutant_that_forgets_the_scale_is_caught():
    def mutant(posterior, samples):
        return posterior.mean + (posterior.rsample((samples,)) - posterior.mean).detach()

    assert statistic(mutant)[0] > 1000


def test_a_posterior_without_reparameterized_sample_is_refused():
    with pytest.raises(ValueError, match="Categorical has no reparameterized sample"):
        Reparameterization().draw(Categorical(torch.ones(2, 3)), 1)
