"""The distribution, with a layer written here whose density is known in closed form; the learned one is a prior."""

import pytest
import torch
from torch.distributions import LogNormal

from hf_lvm.distributions import NormalizingFlow
from tests.tiny_parts import row_generators


class Exponential:
    def __call__(self, inputs):
        return inputs.exp()

    def inverse(self, outputs):
        return outputs.log(), -outputs.log().sum(-1)


class Stretch:
    def __call__(self, inputs):
        return 2 * inputs + 1

    def inverse(self, outputs):
        return (outputs - 1) / 2, torch.full_like(outputs[..., 0], -outputs.shape[-1] * torch.tensor(2.0).log())


def test_the_density_follows_the_order_of_the_layers():
    flow = NormalizingFlow([Stretch(), Exponential()], 4, 3)
    value = torch.rand(5, 4, 3) + 0.1
    torch.testing.assert_close(flow.log_prob(value), LogNormal(torch.tensor(1.0), torch.tensor(2.0)).log_prob(value).sum(-1))
    logarithms = flow.sample((5_000,)).log()
    assert logarithms.shape == (5_000, 4, 3)
    assert (logarithms.mean((0, 1)) - 1).abs().max() < 5 * 2 / 20_000**0.5
    assert (logarithms.std((0, 1)) - 2).abs().max() < 5 * 2 / 40_000**0.5


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    together = NormalizingFlow([Stretch()], 3, 2).sample((5,), row_generators(3))
    assert torch.equal(together[:, 2:], NormalizingFlow([Stretch()], 1, 2).sample((5,), [row_generators(3)[2]]))


def test_moments_are_refused():
    flow = NormalizingFlow([Stretch()], 1, 2)
    with pytest.raises(NotImplementedError, match="mean of a normalizing flow has no closed form"):
        _ = flow.mean
    with pytest.raises(NotImplementedError, match="variance of a normalizing flow has no closed form"):
        _ = flow.stddev
