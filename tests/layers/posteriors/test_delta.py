import math

import pytest
import torch

from hf_lvm.distributions import standard_normal
from hf_lvm.layers.posteriors import DeltaPosterior
from hf_lvm.layers.posteriors.delta import largest_stddev


@pytest.mark.parametrize("rate", [1e-8, 1e-3, 0.15625, 3.0, 500.0])
def test_the_largest_stddev_has_the_rate(rate):
    variance = largest_stddev(rate) ** 2
    assert 0 <= variance < 1
    if variance > 0:
        assert 0.5 * (math.expm1(math.log(variance)) - math.log(variance)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(("size", "rate"), [(32, 5.0), (3, 0.01), (2, 40.0)])
def test_no_input_and_no_weights_go_below_the_committed_rate(size, rate):
    head = DeltaPosterior(8, size, committed_rate=rate).double()
    for scale in (0.0, 1.0, 30.0):
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(scale * torch.randn_like(parameter))
        posterior = head(torch.randn(200, 8, dtype=torch.float64))
        kl = posterior.kl_per_dimension(standard_normal(200, size, dtype=torch.float64))
        assert (kl >= rate / size * (1 - 1e-12)).all()


def test_the_committed_rate_is_attained():
    head = DeltaPosterior(4, 32, committed_rate=5.0).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.log_variance.bias.fill_(40.0)
    posterior = head(torch.randn(3, 4, dtype=torch.float64))
    kl = posterior.kl_per_dimension(standard_normal(3, 32, dtype=torch.float64)).sum(-1)
    assert kl.tolist() == pytest.approx([5.0] * 3, rel=1e-12)


def test_the_gradient_is_alive_on_both_sides_and_at_the_floor():
    head = DeltaPosterior(4, 3)
    for bias in (-30.0, 0.0, 30.0):
        torch.nn.init.constant_(head.log_variance.bias, bias)
        head.zero_grad()
        head(torch.randn(5, 4)).stddev.log().sum().backward()
        assert (head.log_variance.bias.grad > 0).all()


def test_initial_scale():
    for wanted, expected in ((0.2, 0.2), (1.0, 0.9 * largest_stddev(5 / 16))):
        head = DeltaPosterior(64, 16, initial_stddev=wanted)
        head.init_weights()
        stddev = head(torch.randn(200, 64)).stddev
        torch.testing.assert_close(stddev, torch.full((200, 16), expected), rtol=0.1, atol=0)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf])
def test_a_rate_that_commits_to_nothing(rate):
    with pytest.raises(ValueError, match="committed_rate must be a positive number of nats, but is "):
        DeltaPosterior(4, 2, committed_rate=rate)
