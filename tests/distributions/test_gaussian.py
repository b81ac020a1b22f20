import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from hf_lvm.distributions import DiagonalGaussian, normal_noise, standard_normal
from tests.tiny_parts import row_generators

MEAN = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -0.3]], dtype=torch.float64)
STDDEV = torch.tensor([[0.5, 2.0, 1.0], [0.1, 1.5, 0.7]], dtype=torch.float64)


def test_the_kl_divergence_is_the_integral_it_stands_for():
    posterior, prior = DiagonalGaussian(MEAN, STDDEV), standard_normal(2, 3, dtype=torch.float64)
    points = torch.linspace(-30, 30, 60001, dtype=torch.float64)
    step = points[1] - points[0]
    for row in range(2):
        for dimension in range(3):
            q = Normal(MEAN[row, dimension], STDDEV[row, dimension])
            density = q.log_prob(points)
            integral = (density.exp() * (density - Normal(0.0, 1.0).log_prob(points))).sum() * step
            assert posterior.kl_per_dimension(prior)[row, dimension] == pytest.approx(integral.item(), abs=1e-8)
    torch.testing.assert_close(posterior.kl_per_dimension(prior).sum(-1), kl_divergence(posterior, prior))
    assert (prior.kl_per_dimension(prior) == 0).all()


def test_it_is_a_torch_distribution_over_vectors():
    posterior = DiagonalGaussian(MEAN, STDDEV)
    assert posterior.batch_shape == (2,) and posterior.event_shape == (3,) and posterior.has_rsample
    reference = Independent(Normal(MEAN, STDDEV), 1)
    value = torch.randn(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(posterior.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(posterior.entropy(), reference.entropy())
    assert torch.equal(posterior.mode, MEAN) and torch.equal(posterior.stddev, STDDEV)
    expanded = posterior.expand((4, 2))
    assert isinstance(expanded, DiagonalGaussian) and expanded.batch_shape == (4, 2)
    torch.testing.assert_close(expanded.log_prob(value[:4]), reference.log_prob(value[:4]))


def test_samples_follow_the_density_and_carry_gradients():
    mean, stddev = MEAN.clone().requires_grad_(), STDDEV.clone().requires_grad_()
    count = 40_000
    samples = DiagonalGaussian(mean, stddev).rsample((count,))
    assert samples.shape == (count, 2, 3)
    assert ((samples.mean(0) - MEAN).abs() < 5 * STDDEV / math.sqrt(count)).all()
    assert ((samples.std(0) / STDDEV - 1).abs() < 5 / math.sqrt(2 * count)).all()
    # d/dmean E[z] = 1 and d/dstddev E[(z - mean)^2] = 2 stddev.
    (to_mean,) = torch.autograd.grad(samples.mean(0).sum(), mean, retain_graph=True)
    torch.testing.assert_close(to_mean, torch.ones_like(MEAN))
    (to_stddev,) = torch.autograd.grad((samples - MEAN).square().mean(0).sum(), stddev)
    torch.testing.assert_close(to_stddev, 2 * STDDEV, rtol=0.05, atol=0)
    assert not DiagonalGaussian(mean, stddev).sample().requires_grad


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    together = normal_noise((5,), 3, (4,), generator=row_generators(3))
    assert together.shape == (5, 3, 4)
    for row in range(3):
        alone = normal_noise((5,), 1, (4,), generator=[row_generators(3)[row]])
        assert torch.equal(together[:, row], alone[:, 0])
    assert len(together.unique()) == together.numel()
    posterior = DiagonalGaussian(MEAN, STDDEV)
    assert torch.equal(
        posterior.sample((2,), row_generators(2))[:, 1],
        DiagonalGaussian(MEAN[1:], STDDEV[1:]).sample((2,), [row_generators(2)[1]])[:, 0],
    )


def test_one_generator_serves_the_whole_batch():
    one, other = (normal_noise((), 3, (4,), generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, other) and not torch.equal(one, normal_noise((), 3, (4,)))
    with pytest.raises(ValueError, match="2 generators for a batch of 3 rows"):
        normal_noise((), 3, (4,), generator=row_generators(2))
