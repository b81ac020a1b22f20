import math

import pytest
import torch

from hf_lvm.layers.priors import (
    PRIORS,
    ConditionalGaussianPrior,
    GaussianMixturePrior,
    StandardNormalPrior,
    UniformSpherePrior,
    check_prior_type,
)
from tests.tiny_parts import row_generators


def test_the_standard_normal():
    prior = StandardNormalPrior(3)(2, dtype=torch.float64)
    assert prior.batch_shape == (2,) and prior.event_shape == (3,)
    assert prior.log_prob(torch.zeros(2, 3, dtype=torch.float64)).tolist() == pytest.approx([-2.756815599614018] * 2)


@pytest.mark.parametrize("name", sorted(set(PRIORS) - {"vamp", "conditional_gaussian"}))
def test_every_prior_samples_and_scores_rows_in_float32_or_better(name):
    module = PRIORS[name](4).to(torch.bfloat16)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        prior = module(3, dtype=dtype) if dtype != torch.bfloat16 or module.config_options else module(3)
        samples = prior.sample((5,), row_generators(3))
        assert samples.shape == (5, 3, 4) and prior.batch_shape == (3,) and prior.event_shape == (4,)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            density = prior.log_prob(samples)
        assert density.shape == (5, 3) and density.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(density, prior.log_prob(samples))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_gaussian_of_a_condition_in_float32_or_better(dtype):
    precision = torch.promote_types(dtype, torch.float32)
    module, condition = ConditionalGaussianPrior(4, hidden_size=6).to(precision), torch.randn(3, 6).to(dtype)
    new = module(3, condition=condition)
    assert (new.mean == 0).all() and (new.stddev == 1).all() and new.batch_shape == (3,) and new.event_shape == (4,)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prior = module(3, condition=condition)
        samples = prior.sample((5,), row_generators(3))
        density = prior.log_prob(samples)
    assert samples.shape == (5, 3, 4) and density.dtype == precision
    read = condition.to(precision)
    mean = read @ module.mean.weight.T + module.mean.bias
    variance = (read @ module.log_variance.weight.T + module.log_variance.bias).exp()
    expected = -0.5 * ((samples - mean).square() / variance + variance.log() + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(density, expected, rtol=1e-4, atol=1e-4)


def test_the_mixture_starts_apart_and_as_wide_as_the_standard_normal():
    prior = GaussianMixturePrior(64, components=50)
    assert torch.cdist(prior.mean, prior.mean).fill_diagonal_(9).min() > 3
    torch.testing.assert_close(prior(1).variance.mean(), torch.tensor(1.0), rtol=0.1, atol=0)
    value = torch.randn(6, 64)
    single = GaussianMixturePrior(64, components=1)(6)
    torch.testing.assert_close(single.log_prob(value), StandardNormalPrior(64)(6).log_prob(value))


def test_the_mixture_learns_all_it_has():
    prior = GaussianMixturePrior(3, components=4)
    prior(5).log_prob(torch.randn(5, 3)).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in prior.parameters())


def test_refusals():
    with pytest.raises(ValueError, match="Unknown prior_type 'mog': choose one of 'standard_normal', 'gaussian_mixture', 'v"):
        check_prior_type("mog")
    with pytest.raises(ValueError, match="prior_components must be at least 1, but is 0"):
        GaussianMixturePrior(3, components=0)
    with pytest.raises(ValueError, match="'uniform_sphere' needs a latent_size of at least 2, but it is 1"):
        UniformSpherePrior(1)
