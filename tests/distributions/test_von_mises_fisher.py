import math

import pytest
import torch
from torch.distributions import kl_divergence

from hf_lvm.distributions import HypersphericalUniform, VonMisesFisher
from hf_lvm.distributions.cosine_sampling import sample_angle
from tests.tiny_parts import row_generators

CONCENTRATIONS = torch.tensor([1e-3, 0.5, 4.0, 60.0], dtype=torch.float64)
# The poles of the grid below are no special place for these.
DIRECTIONS = torch.tensor([[1.0, 2.0, -1.0], [0.1, -0.4, 0.9], [-1.0, 0.3, 0.2], [0.5, 0.5, 3.0]], dtype=torch.float64)


def sphere_grid(heights: int = 120, turns: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (N, 3) and weights (N,) that integrate smooth functions over the sphere: Gauss-Legendre times trapezoid."""
    index = torch.arange(1, heights, dtype=torch.float64)
    beside = index / torch.sqrt(4 * index.square() - 1)
    height, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    turn = torch.arange(turns, dtype=torch.float64) * 2 * math.pi / turns
    radius = torch.sqrt(1 - height.square())
    points = [radius.outer(turn.cos()), radius.outer(turn.sin()), height.unsqueeze(1).expand(-1, turns)]
    weights = (2 * vectors[0].square() * 2 * math.pi / turns).unsqueeze(1).expand(-1, turns)
    return torch.stack(points, -1).flatten(0, 1), weights.flatten()


def test_the_density_its_moments_and_divergence_are_integrals_over_the_sphere():
    posterior, (points, weights) = VonMisesFisher(DIRECTIONS, CONCENTRATIONS), sphere_grid()
    log_prob = posterior.log_prob(points.unsqueeze(1))
    mass = log_prob.exp() * weights.unsqueeze(1)
    torch.testing.assert_close(mass.sum(0), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close((mass * log_prob).sum(0), -posterior.entropy())
    mean = mass.T @ points
    torch.testing.assert_close(posterior.mean, mean)
    torch.testing.assert_close(posterior.variance, mass.T @ points.square() - mean.square())
    prior = HypersphericalUniform(4, 3, dtype=torch.float64)
    divergence = (mass * (log_prob - prior.log_prob(points.unsqueeze(1)))).sum(0)
    torch.testing.assert_close(kl_divergence(posterior, prior), divergence, rtol=1e-9, atol=1e-13)


def test_the_density_on_a_circle():
    angle = torch.arange(400, dtype=torch.float64) * 2 * math.pi / 400
    points = torch.stack([angle.cos(), angle.sin()], -1)
    posterior = VonMisesFisher(DIRECTIONS[:, :2], CONCENTRATIONS)
    mass = posterior.log_prob(points.unsqueeze(1)).exp() * 2 * math.pi / 400
    torch.testing.assert_close(mass.sum(0), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_divergence_from_the_uniform_sphere(dtype):
    k = torch.tensor([1e-3, 0.1, 2.0, 35.0, 300.0, 1e4], dtype=torch.float64)
    # d = 3: the density is k / (4 pi sinh k) exp(k cos), the mean cosine coth k - 1 / k.
    log_sinh = k + torch.log(-torch.expm1(-2 * k)) - math.log(2)
    exact = k / torch.tanh(k) - 1 + k.log() - log_sinh
    ours = VonMisesFisher(torch.ones(6, 3, dtype=dtype), k.to(dtype)).kl_to_uniform()
    torch.testing.assert_close(ours, exact.to(dtype), rtol=1e-6, atol=1e-12)
    # Near 0 it is k^2 / 2D in any number of dimensions, with a slope of k / D that is still there.
    for dimension in (2, 32, 768):
        small = torch.tensor([0.0, 1e-4], dtype=torch.float64, requires_grad=True)
        divergence = VonMisesFisher(torch.ones(2, dimension, dtype=torch.float64), small).kl_to_uniform()
        (slope,) = torch.autograd.grad(divergence.sum(), small)
        assert divergence[0] == slope[0] == 0
        assert divergence[1].item() == pytest.approx(5e-9 / dimension, rel=1e-4)
        assert slope[1].item() == pytest.approx(1e-4 / dimension, rel=1e-4)


def test_the_uniform_sphere():
    prior = HypersphericalUniform(2, 3)
    assert prior.log_prob(torch.ones(5, 2, 3)).shape == (5, 2)
    assert prior.entropy().tolist() == pytest.approx([math.log(4 * math.pi)] * 2)
    samples = prior.sample((20_000,))
    assert samples.shape == (20_000, 2, 3)
    torch.testing.assert_close(samples.norm(dim=-1), torch.ones(20_000, 2))
    assert (samples.mean(0).abs() < 5 / math.sqrt(60_000)).all() and (prior.mean == 0).all()
    torch.testing.assert_close(samples.var(0), prior.variance, rtol=0.05, atol=0)


def test_samples_lie_on_the_sphere_around_the_mean_direction():
    for dimension in (2, 3, 40):
        direction = torch.randn(4, dimension, dtype=torch.float64)
        posterior = VonMisesFisher(direction, CONCENTRATIONS)
        samples = posterior.sample((20_000,))
        assert samples.shape == (20_000, 4, dimension) and not samples.requires_grad
        torch.testing.assert_close(samples.norm(dim=-1), torch.ones(20_000, 4, dtype=torch.float64))
        error = (samples.mean(0) - posterior.mean) / (posterior.variance / 20_000).sqrt()
        assert error.abs().max() < 5
        torch.testing.assert_close(samples.var(0), posterior.variance, rtol=0.1, atol=0)
    torch.testing.assert_close(posterior.mode.norm(dim=-1), torch.ones(4, dtype=torch.float64))


def value_of(samples: torch.Tensor) -> torch.Tensor:
    """A function of points (..., 3) whose expectation moves with mean direction and concentration alike."""
    return torch.sin(3 * samples[..., 0] + samples[..., 1]) + samples[..., 1].square() * samples[..., 2] + samples[..., 2]


def exact_gradient(direction: torch.Tensor, concentration: torch.Tensor) -> torch.Tensor:
    points, weights = sphere_grid()
    density = VonMisesFisher(direction, concentration).log_prob(points.unsqueeze(1)).exp()
    expectation = (weights.unsqueeze(1) * density * value_of(points).unsqueeze(1)).sum()
    return flat_gradient(expectation, direction, concentration)


def flat_gradient(expectation, direction, concentration) -> torch.Tensor:
    parts = torch.autograd.grad(expectation, (direction, concentration), allow_unused=True)
    parts = [torch.zeros_like(x) if part is None else part for part, x in zip(parts, (direction, concentration), strict=True)]
    return torch.cat([part.flatten() for part in parts])


def joint_statistic(estimates: torch.Tensor, exact: torch.Tensor) -> tuple[float, float]:
    """Hotelling's statistic of the mean of (repeats, n) estimates; standard error over the gradient norm.

    The gradient in the direction has no part along it, so the covariance is inverted where it is not zero.
    """
    repeats, error = len(estimates), estimates.mean(0) - exact
    covariance = torch.cov(estimates.T) / repeats
    precision = torch.linalg.pinv(covariance, rtol=1e-10, hermitian=True)
    return (error @ precision @ error).item(), (covariance.trace().sqrt() / exact.norm()).item()


def naive_angle(angle: torch.Tensor, concentration: torch.Tensor) -> torch.Tensor:
    """Differentiated through the accepted proposal, as if it did not depend on the concentration which one is accepted."""
    b = 2 / (2 * concentration + torch.sqrt(4 * concentration.square() + 4))
    return 2 * torch.atan(torch.sqrt(b * (torch.tan(angle / 2).square() / b).detach()))


@pytest.mark.parametrize("concentration", [0.7, 8.0])
def test_the_gradient_of_an_expectation_is_exact_on_the_sphere(concentration):
    direction = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64, requires_grad=True)
    concentration = torch.tensor([concentration], dtype=torch.float64, requires_grad=True)
    exact, estimates, mutants = exact_gradient(direction, concentration), [], []
    for _ in range(30):
        samples = VonMisesFisher(direction, concentration).rsample((10_000,))
        estimates.append(flat_gradient(value_of(samples).mean(), direction, concentration))
        angle = naive_angle(sample_angle(concentration, 3, 10_000), concentration).unsqueeze(-1)
        pole = VonMisesFisher(direction, concentration).mean_direction
        around = torch.randn(10_000, 1, 3, dtype=torch.float64).cross(pole.detach().expand(10_000, 1, 3), dim=-1)
        around = torch.nn.functional.normalize(around, dim=-1)
        around = around - pole.detach() * (around * pole).sum(-1, keepdim=True)
        mutants.append(flat_gradient(value_of(angle.cos() * pole + angle.sin() * around).mean(), direction, concentration))
    statistic, relative_error = joint_statistic(torch.stack(estimates), exact)
    assert relative_error < 0.02
    assert statistic < 30  # three degrees of freedom, of 30 repeats: one in ten thousand
    assert joint_statistic(torch.stack(mutants), exact)[0] > 100


def test_the_gradient_of_an_expectation_is_exact_in_more_dimensions():
    """For a.z + (a.z)(b.z), whose expectation needs only the first two moments of the cosine: an integral over the angle."""
    dimension = 7
    a, b, direction = torch.randn(3, dimension, dtype=torch.float64)
    direction = direction.unsqueeze(0).requires_grad_()
    concentration = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    grid = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    density = torch.exp(concentration * (grid.cos() - 1)) * grid.sin() ** (dimension - 2)
    density = density / torch.trapezoid(density, grid)
    first, second = (torch.trapezoid(density * grid.cos() ** power, grid) for power in (1, 2))
    unit = torch.nn.functional.normalize(direction, dim=-1)[0]
    across = (a @ b - (a @ unit) * (b @ unit)) / (dimension - 1)
    expectation = first * (a @ unit) + second * (a @ unit) * (b @ unit) + (1 - second) * across
    exact = flat_gradient(expectation, direction, concentration)
    estimates = []
    for _ in range(40):
        samples = VonMisesFisher(direction, concentration).rsample((5_000,))
        value = (samples @ a + (samples @ a) * (samples @ b)).mean()
        estimates.append(flat_gradient(value, direction, concentration))
    statistic, relative_error = joint_statistic(torch.stack(estimates), exact)
    assert relative_error < 0.02
    assert statistic < 50  # seven degrees of freedom, of 40 repeats


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    posterior = VonMisesFisher(DIRECTIONS, CONCENTRATIONS)
    together = posterior.sample((3,), row_generators(4))
    for row in range(4):
        alone = VonMisesFisher(DIRECTIONS[row : row + 1], CONCENTRATIONS[row : row + 1])
        torch.testing.assert_close(together[:, row : row + 1], alone.sample((3,), [row_generators(4)[row]]))
    one, other = (posterior.sample((), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (4, 3)
    uniform = HypersphericalUniform(4, 3)
    assert torch.equal(
        uniform.sample((2,), row_generators(4))[:, 3:], HypersphericalUniform(1, 3).sample((2,), row_generators(1, seed=3))
    )


def test_it_is_exact_under_autocast():
    posterior = VonMisesFisher(DIRECTIONS.float(), CONCENTRATIONS.float())
    samples = posterior.sample((5,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(posterior.log_prob(samples), posterior.log_prob(samples.double()).float())
        assert posterior.kl_to_uniform().dtype == posterior.rsample().dtype == torch.float32


def test_detached_and_expanded():
    direction, concentration = DIRECTIONS.clone().requires_grad_(), CONCENTRATIONS.clone().requires_grad_()
    posterior, value = VonMisesFisher(direction, concentration), torch.ones(4, 3, dtype=torch.float64)
    assert posterior.log_prob(value).requires_grad and not posterior.detached().log_prob(value).requires_grad
    torch.testing.assert_close(posterior.expand((2, 4)).log_prob(value), posterior.log_prob(value).expand(2, 4))


def test_refusals():
    with pytest.raises(ValueError, match="at least 2 dimensions, but there is 1"):
        VonMisesFisher(torch.ones(2, 1), torch.ones(2))
    with pytest.raises(ValueError, match=r"\(2, 3\) and concentration \(3,\)"):
        VonMisesFisher(torch.ones(2, 3), torch.ones(3))
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(torch.ones(2, 3), -torch.ones(2), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        VonMisesFisher(torch.ones(2, 3), torch.ones(2), validate_args=True).log_prob(torch.ones(2, 3))
    with pytest.raises(ValueError, match="has 3 dimensions and the sphere 4"):
        kl_divergence(VonMisesFisher(torch.ones(2, 3), torch.ones(2)), HypersphericalUniform(2, 4))
    with pytest.raises(ValueError, match="2 generators for a batch of 4 rows"):
        VonMisesFisher(DIRECTIONS, CONCENTRATIONS).sample((), row_generators(2))


def test_no_samples_are_an_empty_tensor():
    q = VonMisesFisher(torch.ones(2, 3), torch.ones(2))
    assert q.sample((0,)).shape == (0, 2, 3) and q.rsample((2, 0)).shape == (2, 0, 2, 3)
