import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from hf_lvm.distributions import GaussianMixture
from tests.tiny_parts import row_generators

LOGITS = torch.tensor([0.3, -1.0, 1.2], dtype=torch.float64)
MEAN = torch.tensor([[3.0, 0.0], [-2.0, 1.0], [0.0, -4.0]], dtype=torch.float64)
STDDEV = torch.tensor([[0.5, 1.0], [0.02, 0.8], [2.0, 0.3]], dtype=torch.float64)
REFERENCE = MixtureSameFamily(Categorical(logits=LOGITS), Independent(Normal(MEAN, STDDEV), 1))


def test_density_and_moments():
    mixture, value = GaussianMixture(LOGITS, MEAN, STDDEV, 4), 3 * torch.randn(5, 4, 2, dtype=torch.float64)
    assert mixture.batch_shape == (4,) and mixture.event_shape == (2,) and not mixture.has_rsample
    torch.testing.assert_close(mixture.log_prob(value), REFERENCE.log_prob(value), rtol=1e-10, atol=1e-10)
    assert mixture.log_prob(value[0, 0]).shape == (4,)
    torch.testing.assert_close(mixture.mean, REFERENCE.mean.expand(4, 2))
    torch.testing.assert_close(mixture.stddev, REFERENCE.stddev.expand(4, 2))


def test_samples_follow_the_density():
    samples = GaussianMixture(LOGITS, MEAN, STDDEV, 2).sample((40_000,))
    assert samples.shape == (40_000, 2, 2)
    error = (samples.mean(0) - REFERENCE.mean) / (REFERENCE.stddev / 200)
    assert error.abs().max() < 5
    # By nearest component: far apart but for the wide one, which has a part of each neighbour's place.
    component = REFERENCE.component_distribution.log_prob(samples.unsqueeze(-2)).argmax(-1)
    share = torch.stack([(component == index).double().mean() for index in range(3)])
    torch.testing.assert_close(share, REFERENCE.mixture_distribution.probs, rtol=0.05, atol=0.01)


def test_gradients_reach_every_parameter():
    parameters = [value.clone().requires_grad_() for value in (LOGITS, MEAN, STDDEV)]
    value = torch.randn(3, 2, dtype=torch.float64)
    ours = torch.autograd.grad(GaussianMixture(*parameters, 3).log_prob(value).sum(), parameters)
    reference = MixtureSameFamily(Categorical(logits=parameters[0]), Independent(Normal(*parameters[1:]), 1))
    for one, other in zip(ours, torch.autograd.grad(reference.log_prob(value).sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)


def test_float32_loses_nothing_to_the_way_it_is_computed():
    """Narrow components far from the origin, under autocast: the written-out square would cancel to noise."""
    mean, stddev = 30 + torch.rand(3, 2), torch.full((3, 2), 0.01)
    mixture, value = GaussianMixture(torch.zeros(3), mean, stddev, 4), mean[:1] + 0.01 * torch.randn(4, 2)
    exact = GaussianMixture(torch.zeros(3).double(), mean.double(), stddev.double(), 4).log_prob(value.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = mixture.log_prob(value)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact.float(), rtol=1e-6, atol=1e-6)


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    together = GaussianMixture(LOGITS, MEAN, STDDEV, 3).sample((5,), row_generators(3))
    alone = GaussianMixture(LOGITS, MEAN, STDDEV, 1).sample((5,), [row_generators(3)[2]])
    assert torch.equal(together[:, 2:], alone)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"needs \(C,\), \(C, D\) and \(C, D\)"):
        GaussianMixture(torch.zeros(2), MEAN, STDDEV, 1)
