"""Active units and mutual information against closed forms and quadrature."""

import math

import pytest
import torch
from torch.distributions import Independent, LowRankMultivariateNormal, Normal

from hf_lvm.distributions import CategoricalVector
from hf_lvm.objectives import diagnostics
from hf_lvm.objectives.diagnostics import (
    active_units,
    batch_mutual_information,
    joint_mutual_information,
    mutual_information,
)


def gaussian(means: torch.Tensor, deviations: torch.Tensor | float) -> Independent:
    return Independent(Normal(means, torch.as_tensor(deviations, dtype=means.dtype).expand_as(means)), 1)


def draw(posterior: Independent, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(posterior.mean.shape, generator=generator, dtype=posterior.mean.dtype)
    return posterior.mean + posterior.stddev * noise


def information_by_quadrature(means: list[float], deviations: list[float]) -> float:
    """1/K sum_k KL(q_k || 1/K sum_j q_j) in one dimension, by the trapezoid rule on a fine grid."""
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    log_parts = Normal(torch.tensor(means).double()[:, None], torch.tensor(deviations).double()[:, None]).log_prob(grid)
    log_mixture = log_parts.logsumexp(0) - math.log(len(means))
    return float(torch.trapezoid(log_parts.exp() * (log_parts - log_mixture), grid).mean())


def repeated_mixture(means: list[float], deviations: list[float], copies: int) -> Independent:
    return gaussian(
        torch.tensor(means).double().repeat(copies)[:, None], torch.tensor(deviations).double().repeat(copies)[:, None]
    )


def test_active_units_count_dimensions_by_unbiased_variance():
    # Two points at +-a have unbiased variance 2 a^2 (biased: a^2), so only the unbiased one reaches 0.01 in column 1.
    means = torch.tensor([[1.0, 0.08, 0.0, 5.0], [-1.0, -0.08, 0.0, 5.0]])
    count, variance = active_units(means)
    torch.testing.assert_close(variance, torch.tensor([2.0, 0.0128, 0.0, 0.0]))
    assert count == 2
    assert active_units(means, threshold=1.0)[0] == 1


def test_active_units_do_not_lose_precision_in_half_precision_input():
    means = torch.full((4096, 1), 100.0, dtype=torch.bfloat16)
    means[::2] = 101.0
    count, variance = active_units(means)
    assert count == 1
    assert variance.item() == pytest.approx(0.25, rel=1e-3)


def test_active_units_refuse_what_has_no_variance():
    with pytest.raises(ValueError, match="at least two data points"):
        active_units(torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        active_units(torch.zeros(3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        active_units(torch.tensor([[0.0], [math.nan]]))


@pytest.mark.parametrize(
    ("means", "deviations"),
    [([0.0, 1.0], [1.0, 1.0]), ([-2.0, 0.5, 1.0], [0.3, 1.0, 2.0]), ([0.0, 0.0], [0.1, 3.0])],
)
def test_mutual_information_agrees_with_quadrature(means, deviations):
    copies = 1500
    posterior = repeated_mixture(means, deviations, copies)
    estimate = mutual_information(posterior, draw(posterior))
    truth = information_by_quadrature(means, deviations)
    # Every term lies in (-inf, log K]; its standard deviation over z is below 1 nat in these mixtures.
    assert estimate == pytest.approx(truth, abs=4 / math.sqrt(copies * len(means)))
    assert truth > 0.05


def test_batch_estimate_agrees_with_quadrature_of_the_batch_mixture():
    # Groups of 4 = two copies of each of the two posteriors: the batch mixture is the data-set mixture.
    means, deviations = [0.0, 1.5], [1.0, 0.5]
    posterior = repeated_mixture(means, deviations, 2000)
    estimate = batch_mutual_information(posterior, draw(posterior), batch_size=4)
    assert estimate == pytest.approx(information_by_quadrature(means, deviations), abs=0.06)


def test_a_posterior_equal_to_the_prior_knows_nothing():
    posterior = gaussian(torch.zeros(50, 3), 1.0)
    assert mutual_information(posterior, draw(posterior)) == pytest.approx(0, abs=1e-5)
    assert batch_mutual_information(posterior, draw(posterior)) == pytest.approx(0, abs=1e-5)


def test_separated_posteriors_reach_the_two_different_ceilings():
    posterior = gaussian(100.0 * torch.arange(70.0)[:, None].expand(70, 2), 1.0)
    latents = draw(posterior)
    assert mutual_information(posterior, latents) == pytest.approx(math.log(70), rel=1e-6)
    # Two groups of 32 and one of 6, weighted by their sizes.
    expected = (64 * math.log(32) + 6 * math.log(6)) / 70
    assert batch_mutual_information(posterior, latents) == pytest.approx(expected, rel=1e-6)


def test_one_batch_that_holds_the_data_set_gives_the_data_set_estimate():
    posterior = gaussian(torch.randn(37, 4, generator=torch.Generator().manual_seed(1)), 0.7)
    latents = draw(posterior)
    whole = mutual_information(posterior, latents)
    assert batch_mutual_information(posterior, latents, batch_size=37) == pytest.approx(whole, rel=1e-5)
    assert batch_mutual_information(posterior, latents, batch_size=500) == pytest.approx(whole, rel=1e-5)


def test_batch_estimate_of_categories_is_the_weighted_mean_over_groups():
    posterior = CategoricalVector(torch.randn(23, 2, 3, generator=torch.Generator().manual_seed(2)))
    latents = posterior.sample((), torch.Generator().manual_seed(3))
    parts = [
        len(rows) * mutual_information(CategoricalVector(posterior.logits[rows]), latents[rows])
        for rows in torch.arange(23).split(5)
    ]
    assert batch_mutual_information(posterior, latents, batch_size=5) == pytest.approx(sum(parts) / 23, rel=1e-5)


def test_batch_estimate_is_the_weighted_mean_over_groups():
    means = torch.randn(23, 3, generator=torch.Generator().manual_seed(2)).double()
    latents = draw(gaussian(means, 0.5))
    parts = [len(rows) * mutual_information(gaussian(means[rows], 0.5), latents[rows]) for rows in torch.arange(23).split(5)]
    assert batch_mutual_information(gaussian(means, 0.5), latents, batch_size=5) == pytest.approx(sum(parts) / 23)


def test_order_and_chunks_do_not_matter_but_pairing_does():
    means = 3 * torch.randn(40, 5, generator=torch.Generator().manual_seed(3)).double()
    posterior = gaussian(means, 0.5)
    latents = draw(posterior)
    reference = mutual_information(posterior, latents)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(4))
    assert mutual_information(gaussian(means[order], 0.5), latents[order]) == pytest.approx(reference)
    for chunk_size in (1, 7, 40, 1000):
        assert mutual_information(posterior, latents, chunk_size=chunk_size) == pytest.approx(reference)
    assert mutual_information(posterior, latents.roll(1, 0)) < reference - 5


def test_any_distribution_with_vector_events_is_accepted():
    means = torch.randn(20, 3, generator=torch.Generator().manual_seed(5)).double()
    low_rank = LowRankMultivariateNormal(means, torch.zeros(20, 3, 1).double(), torch.full((20, 3), 0.25).double())
    latents = draw(gaussian(means, 0.5))
    assert mutual_information(low_rank, latents) == pytest.approx(mutual_information(gaussian(means, 0.5), latents))


def test_autocast_does_not_lower_the_precision():
    means = 0.01 * torch.randn(64, 32, generator=torch.Generator().manual_seed(6))
    factor = torch.zeros(64, 32, 1)
    posterior = LowRankMultivariateNormal(means, factor, torch.ones(64, 32))
    latents = draw(gaussian(means, 1.0))
    reference = mutual_information(posterior, latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mutual_information(posterior, latents) == reference


def test_the_comparison_of_all_with_all_is_never_held_at_once():
    class Recording(Independent):
        largest = 0

        def log_prob(self, value):
            self.largest = max(self.largest, math.prod(torch.broadcast_shapes(value.shape, self.mean.shape)))
            return super().log_prob(value)

    posterior = Recording(Normal(torch.zeros(1500, 32), torch.ones(1500, 32)), 1)
    mutual_information(posterior, draw(posterior))
    assert posterior.largest <= 2**17  # half a megabyte; all pairs would be 288 megabytes
    batch_mutual_information(posterior, draw(posterior))
    assert posterior.largest <= 2**17


@pytest.mark.parametrize("estimator", [mutual_information, batch_mutual_information])
def test_wrong_input_is_named(estimator):
    posterior = gaussian(torch.zeros(6, 2), 1.0)
    with pytest.raises(ValueError, match=r"shape \(5, 2\); one sample per posterior is needed: \(6, 2\)"):
        estimator(posterior, torch.zeros(5, 2))
    with pytest.raises(ValueError, match="Independent"):
        estimator(Normal(torch.zeros(6, 2), 1.0), torch.zeros(6, 2))
    with pytest.raises(ValueError, match=r"torch.bfloat16; densities need torch.float32"):
        estimator(posterior, torch.zeros(6, 2, dtype=torch.bfloat16))
    unchecked = Independent(Normal(torch.full((6, 2), math.nan), torch.ones(6, 2), validate_args=False), 1)
    with pytest.raises(ValueError, match="not finite"):
        estimator(unchecked, torch.zeros(6, 2))


def test_sizes_below_one_are_refused():
    posterior = gaussian(torch.zeros(6, 2), 1.0)
    with pytest.raises(ValueError, match="chunk_size is 0"):
        mutual_information(posterior, torch.zeros(6, 2), chunk_size=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        batch_mutual_information(posterior, torch.zeros(6, 2), batch_size=0)


def codes(count: int, variables: int, classes: int, strength: float) -> CategoricalVector:
    generator = torch.Generator().manual_seed(3)
    return CategoricalVector(strength * torch.randn(count, variables, classes, generator=generator, dtype=torch.float64))


def test_what_variables_tell_together_is_the_sum_over_all_their_values():
    posterior = codes(7, 2, 3, 2.0)
    first, second = posterior.probs.unbind(1)
    table = (first.unsqueeze(2) * second.unsqueeze(1)).flatten(1)  # (7, 9), q(z_1, z_2 | x)
    expected = (table * (table / table.mean(0)).log()).sum(1).mean()
    assert joint_mutual_information(posterior) == pytest.approx(float(expected), rel=1e-10)
    # Two variables that repeat each other tell no more than one.
    certain = torch.full((6, 1, 3), -torch.inf).scatter_(2, torch.arange(6).view(6, 1, 1) % 3, 0.0)
    assert joint_mutual_information(CategoricalVector(certain.repeat(1, 2, 1))) == pytest.approx(math.log(3), abs=1e-6)
    uneven = CategoricalVector(certain.repeat(1, 2, 1)[:, :, :3], class_counts=(3, 3))
    assert joint_mutual_information(uneven) == pytest.approx(math.log(3), abs=1e-6)


def test_sampled_it_is_near_the_sum_and_nothing_for_a_posterior_that_says_nothing(monkeypatch):
    posterior = codes(60, 5, 4, 0.7)
    exact = joint_mutual_information(posterior)
    alone = max(joint_mutual_information(CategoricalVector(posterior.logits[:, [m]])) for m in range(5))
    monkeypatch.setattr(diagnostics, "ENUMERATED_ELEMENTS", 0)
    assert joint_mutual_information(posterior, num_samples=400) == pytest.approx(exact, rel=0.03)
    assert exact > 2 * alone
    assert joint_mutual_information(codes(60, 5, 4, 0.0)) == pytest.approx(0.0, abs=1e-9)
