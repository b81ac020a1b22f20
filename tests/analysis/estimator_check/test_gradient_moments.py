"""Moments of gradients that are not kept, against those of gradients that are."""

import pytest
import torch

from hf_lvm.analysis.estimator_check.moments import GradientMoments


def draws_of(count: int, size: int, seed: int) -> torch.Tensor:
    """Correlated ones, a few directions scattering most."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, size, generator=generator, dtype=torch.float64)
    scales = torch.linspace(1.0, 0.1, size, dtype=torch.float64) ** 2
    return noise * scales + 0.5 * noise[:, :1]


def moments_of(exact: torch.Tensor, *pieces: torch.Tensor) -> dict[str, float]:
    moments = GradientMoments(exact)
    for piece in pieces:
        moments.add(piece)
    return moments.summary()


def test_they_are_those_of_all_draws_together():
    exact = torch.linspace(-1.0, 2.0, 7, dtype=torch.float64)
    draws = exact + draws_of(5000, 7, seed=0) + 0.3
    found = moments_of(exact, draws)
    norm, covariance = exact.norm(), torch.cov(draws.T)
    assert found["draws"] == 5000
    assert found["relative_bias"] == pytest.approx(((draws.mean(0) - exact).norm() / norm).item())
    assert found["variance"] == pytest.approx((covariance.trace() / norm**2).item(), rel=0.05)
    assert found["standard_error"] == pytest.approx((covariance.trace() / 5000).sqrt().item() / norm.item(), rel=0.05)
    cosine = torch.nn.functional.cosine_similarity
    assert found["cosine"] == pytest.approx(cosine(draws.mean(0), exact, dim=0).item())
    assert found["cosine_of_one"] == pytest.approx(cosine(draws, exact.unsqueeze(0)).mean().item())
    degrees = covariance.trace() ** 2 / covariance.square().sum()
    assert found["degrees_of_freedom"] == pytest.approx(degrees.item(), rel=0.15)


def test_the_pieces_they_come_in_do_not_matter():
    exact = torch.ones(5, dtype=torch.float64)
    draws = draws_of(131, 5, seed=1)
    whole, pieces = moments_of(exact, draws), moments_of(exact, *draws.split(17))
    assert whole == pytest.approx(pieces)


@pytest.mark.parametrize(("count", "size"), [(400, 12), (100, 300)])
def test_chance_is_called_chance_and_a_bias_is_seen(count, size):
    """Also with fewer draws than directions."""
    exact = torch.ones(size, dtype=torch.float64)
    p_values = [moments_of(exact, exact + draws_of(count, size, seed=seed))["p_value"] for seed in range(150)]
    below = sum(p_value < 0.05 for p_value in p_values) / 150
    assert 0.01 < below < 0.1 and min(p_values) > 1e-4
    assert moments_of(exact, 1.25 * exact + draws_of(count, size, seed=0))["p_value"] < 1e-4


def test_without_scatter_the_mean_says_it_all():
    exact = torch.ones(3, dtype=torch.float64)
    assert moments_of(exact, exact.expand(4, 3))["p_value"] == 1.0
    assert moments_of(exact, 1.1 * exact.expand(4, 3))["p_value"] == 0.0
    with pytest.raises(ValueError, match="told from 4 or more, and there are 3"):
        moments_of(exact, exact.expand(3, 3))
