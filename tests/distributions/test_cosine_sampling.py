import math

import pytest
import torch

from hf_lvm.distributions import cosine_sampling
from hf_lvm.distributions.bessel import bessel_ratio
from hf_lvm.distributions.cosine_sampling import AngleOfConcentration, angle_derivative, sample_angle
from tests.tiny_parts import row_generators


def distance_to_exact_distribution(concentration: float, count: int) -> float:
    """The Kolmogorov-Smirnov statistic for d = 3, where the distribution function of the cosine is elementary."""
    cosine = sample_angle(torch.tensor([concentration]), 3, count)[:, 0].cos().sort().values
    k = concentration
    exact = torch.expm1(k * (cosine + 1)) / math.expm1(2 * k) if k < 100 else torch.exp(k * (cosine - 1))
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    return math.sqrt(count) * torch.maximum((exact - steps[:-1]).abs(), (exact - steps[1:]).abs()).max().item()


@pytest.mark.parametrize("proposals", [8, 1])
@pytest.mark.parametrize("concentration", [1e-3, 2.0, 500.0])
def test_the_distribution_is_exact_however_many_rounds_it_takes(concentration, proposals, monkeypatch):
    monkeypatch.setattr(cosine_sampling, "PROPOSALS", proposals)
    assert distance_to_exact_distribution(concentration, 20_000) < 2.2  # 1 in 10,000


@pytest.mark.parametrize("dimension", [2, 5, 64, 768])
def test_moments(dimension):
    k = torch.tensor([1e-3, 1.0, 60.0, 1e4], dtype=torch.float64)
    cosine = sample_angle(k, dimension, 10_000).cos()
    mean = bessel_ratio(dimension / 2 - 1, k)
    square = 1 - (dimension - 1) * mean / k
    for power, exact in ((cosine, mean), (cosine.square(), square)):
        assert ((power.mean(0) - exact).abs() < 4.5 * power.std(0) / 100).all()


@pytest.mark.parametrize("dimension", [2, 3, 7, 128, 768])
def test_the_derivative_is_that_of_the_quantile(dimension):
    """Against a finite difference of the distribution function on a fine grid, at its quantiles."""
    for k in (0.01, 3.0, 200.0, 5e3):
        width = 14 / math.sqrt(k + dimension)
        mode = math.acos(2 * k / (dimension - 2 + math.hypot(dimension - 2, 2 * k)))
        grid = torch.linspace(max(0.0, mode - width), min(math.pi, mode + width), 40_001, dtype=torch.float64)

        def distribution_function(k, grid=grid):
            log_density = k * (grid.cos() - 1) + (dimension - 2) * grid.sin().clamp(min=1e-300).log()
            density = (log_density - log_density.max()).exp()
            return torch.cumulative_trapezoid(density / torch.trapezoid(density, grid), grid)

        step = 1e-4 * k
        change = (distribution_function(k + step) - distribution_function(k - step)) / (2 * step)
        function = distribution_function(k)
        places = [int(torch.searchsorted(function, share)) for share in (0.01, 0.3, 0.5, 0.55, 0.7, 0.99)]
        density = torch.stack([function[place + 1] - function[place - 1] for place in places]) / (2 * (grid[1] - grid[0]))
        ours = angle_derivative(grid[1:][places].unsqueeze(1), torch.tensor([k], dtype=torch.float64), dimension)[:, 0]
        torch.testing.assert_close(ours, -change[places] / density, rtol=2e-4, atol=0)


def test_a_second_derivative_is_refused_and_not_silently_zero():
    k = torch.tensor([2.0], requires_grad=True)
    angle = AngleOfConcentration.apply(k, sample_angle(k, 3, 5), 3)
    (first,) = torch.autograd.grad(angle.sum() * k.sum(), k, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_row_depends_on_its_own_generator_only(monkeypatch):
    monkeypatch.setattr(cosine_sampling, "PROPOSALS", 2)  # most rows need further rounds, and not equally many
    k = torch.tensor([0.1, 50.0, 1e4])
    generators = row_generators(3)
    together = [sample_angle(k, 4, 3, generators) for _ in range(2)]
    for row in range(3):
        alone = row_generators(3)[row]
        for draw in together:
            torch.testing.assert_close(
                draw[:, row : row + 1], sample_angle(k[row : row + 1], 4, 3, [alone]), rtol=1e-12, atol=0
            )
        assert torch.equal(alone.get_state(), generators[row].get_state())
