"""A vector of categories against the list of all its values, in float64."""

import math

import pytest
import torch
from scipy.stats import chi2
from torch.distributions import kl_divergence

from hf_lvm.distributions import CategoricalVector
from hf_lvm.distributions.noise import gumbel_of_uniform
from tests.tiny_parts import row_generators

BATCH, VARIABLES, CLASSES = 3, 3, 4


def unequal_vector(seed: int = 0) -> CategoricalVector:
    """Variables of 2, 4 and 3 classes."""
    logits = 1.5 * torch.randn(BATCH, VARIABLES, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return CategoricalVector(logits.requires_grad_(), [2, 4, 3])


def random_vector(seed: int = 0, impossible: bool = False) -> CategoricalVector:
    logits = 1.5 * torch.randn(BATCH, VARIABLES, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if impossible:
        logits[:, 1, 2] = -math.inf
    return CategoricalVector(logits.requires_grad_() if not impossible else logits)


@pytest.mark.parametrize("impossible", [False, True])
def test_sums_over_all_values(impossible):
    vector, prior = random_vector(impossible=impossible), random_vector(1)
    values = vector.enumerate_support()
    log_prob = vector.log_prob(values)
    assert values.shape == (vector.support_size, BATCH, VARIABLES) and len(values[:, 0].unique(dim=0)) == CLASSES**VARIABLES
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(BATCH, dtype=torch.float64))
    surprise = torch.where(log_prob.exp() > 0, -log_prob, 0.0)
    torch.testing.assert_close(vector.entropy(), (log_prob.exp() * surprise).sum(0))
    divergence = (log_prob.exp() * (-surprise - prior.log_prob(values))).sum(0)
    torch.testing.assert_close(kl_divergence(vector, prior), divergence)
    torch.testing.assert_close(vector.kl_per_dimension(prior).sum(-1), divergence)
    torch.testing.assert_close(vector.mode, values[log_prob.argmax(0), range(BATCH)])


def test_a_class_the_prior_excludes_costs_everything_and_a_class_the_posterior_excludes_nothing():
    certain = CategoricalVector(torch.tensor([[[0.0, -math.inf]]], requires_grad=True))
    assert kl_divergence(certain, CategoricalVector(torch.zeros(1, 1, 2))).item() == pytest.approx(math.log(2))
    assert kl_divergence(CategoricalVector(torch.zeros(1, 1, 2)), certain).item() == math.inf


def test_variables_of_different_numbers_of_classes():
    vector, prior = unequal_vector(), unequal_vector(1)
    values = vector.enumerate_support()
    log_prob = vector.log_prob(values)
    assert values.shape == (24, BATCH, VARIABLES) and vector.support_size == 24 and log_prob.isfinite().all()
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(BATCH, dtype=torch.float64))
    torch.testing.assert_close(vector.entropy(), -(log_prob.exp() * log_prob).sum(0))
    divergence = kl_divergence(vector, prior)
    torch.testing.assert_close(divergence, (log_prob.exp() * (log_prob - prior.log_prob(values))).sum(0))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(divergence.sum(), [vector.logits]))
    best = log_prob.topk(7, dim=0)
    torch.testing.assert_close(vector.log_prob(vector.top_k(7)), best.values)
    assert vector.top_k(100).shape == (24, BATCH, VARIABLES)
    limits = torch.tensor([2, 4, 3])
    generators = row_generators(BATCH)
    for drawn in (
        vector.sample((500,), generators),
        vector.sample_excluding(vector.top_k(5), (500,), generators),
        vector.relaxed_sample(0.7, (500,), generators).argmax(-1),
        vector.detached().with_logits(torch.zeros_like(vector.logits)).sample((500,), generators),
    ):
        assert (drawn < limits).all() and (drawn == limits - 1).any(0).all()
    with pytest.raises(ValueError, match="3 numbers from 1 to 4"):
        CategoricalVector(vector.logits, [2, 5, 3])


def test_the_divergence_has_a_gradient_beside_impossible_classes():
    logits = torch.tensor([[[0.3, -0.2, -math.inf]]], dtype=torch.float64, requires_grad=True)
    divergence = kl_divergence(CategoricalVector(logits), CategoricalVector(torch.zeros(1, 1, 3, dtype=torch.float64)))
    (gradient,) = torch.autograd.grad(divergence, logits)
    assert gradient.isfinite().all() and gradient[..., 2] == 0 and gradient[..., 0] > 0


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100])
def test_the_most_probable_values_are_found_without_a_list_of_all(count):
    vector = random_vector(2)
    values = vector.enumerate_support()
    best = vector.log_prob(values).topk(min(count, 64), dim=0)
    found = vector.top_k(count)
    torch.testing.assert_close(vector.log_prob(found), best.values)
    assert all(len(found[:, row].unique(dim=0)) == len(found) for row in range(BATCH))


def frequencies(samples: torch.Tensor, row: int) -> torch.Tensor:
    powers = CLASSES ** torch.arange(VARIABLES - 1, -1, -1)
    return (samples[:, row] * powers).sum(-1).bincount(minlength=CLASSES**VARIABLES).double()


def statistic(counts: torch.Tensor, probabilities: torch.Tensor) -> tuple[float, float]:
    """Pearson's statistic over the values of positive probability, and what it exceeds once in ten thousand times."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] * counts.sum()
    return ((counts[possible] - expected) ** 2 / expected).sum().item(), chi2.isf(1e-4, int(possible.sum()) - 1)


@pytest.mark.parametrize("excluded", [0, 1, 5, 40])
def test_samples_have_the_frequencies_of_the_distribution_and_exclude_what_they_are_told_to(excluded):
    vector, generator = random_vector(3), torch.Generator().manual_seed(5)
    values = vector.enumerate_support()
    probabilities = vector.log_prob(values).detach().exp()
    if excluded:
        left_out = vector.top_k(excluded)
        samples = vector.sample_excluding(left_out, (30_000,), generator)
        is_out = (values.unsqueeze(0) == left_out.unsqueeze(1)).all(-1).any(0)
        probabilities = probabilities.masked_fill(is_out, 0.0)
        probabilities = probabilities / probabilities.sum(0)
    else:
        samples = vector.sample((30_000,), generator)
    for row in range(BATCH):
        found, limit = statistic(frequencies(samples, row), probabilities[:, row])
        assert found < limit


def test_relaxed_samples_lie_in_the_simplex_and_their_corners_are_the_samples():
    vector = random_vector(4)
    samples = vector.sample((500,), torch.Generator().manual_seed(1))
    for temperature, sharpest in ((0.1, 0.8), (5.0, 0.0)):
        relaxed = vector.relaxed_sample(temperature, (500,), torch.Generator().manual_seed(1))
        torch.testing.assert_close(relaxed.sum(-1), torch.ones(500, BATCH, VARIABLES, dtype=torch.float64))
        assert relaxed.requires_grad and torch.equal(relaxed.argmax(-1), samples)
        assert relaxed.amax(-1).mean() > sharpest
    torch.testing.assert_close(vector.one_hot(samples).argmax(-1), samples)


def test_gumbel_noise_has_its_moments():
    noise = torch.rand(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gumbels = gumbel_of_uniform(noise)
    assert gumbels.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert gumbels.var().item() == pytest.approx(math.pi**2 / 6, abs=0.02)
    assert gumbel_of_uniform(torch.tensor([0.0, 1.0 - 2**-24])).isfinite().all()


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    vector = random_vector(6)
    alone = CategoricalVector(vector.logits[1:2])
    for draw in (
        lambda v, g: v.sample((5,), g),
        lambda v, g: v.sample_excluding(v.top_k(3), (5,), g),
        lambda v, g: v.relaxed_sample(0.7, (5,), g),
    ):
        together = draw(vector, row_generators(BATCH))
        assert torch.equal(together[:, 1:2], draw(alone, row_generators(BATCH)[1:2]))


def test_it_stays_in_float32_beside_narrower_logits():
    vector = CategoricalVector(torch.randn(2, 1, 50, dtype=torch.bfloat16))
    assert vector.logits.dtype == torch.float32
    torch.testing.assert_close(vector.probs.sum(-1), torch.ones(2, 1))


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"logits has shape \(2, 5\): a vector of categories takes"):
        CategoricalVector(torch.zeros(2, 5))


def test_the_same_with_other_parameters():
    vector = random_vector(7)
    assert vector.logits.requires_grad and not vector.detached().logits.requires_grad
    torch.testing.assert_close(vector.detached().logits, vector.logits.detach())
    assert CategoricalVector(torch.zeros(1, 2, 3)).expand((4,)).sample().shape == (4, 2)
