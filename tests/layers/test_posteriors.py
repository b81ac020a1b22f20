import pytest
import torch

from hf_lvm.layers.posteriors import GaussianPosterior, check_posterior_type
from hf_lvm.layers.priors import StandardNormalPrior, check_prior_type


def test_two_linear_maps():
    head, pooled = GaussianPosterior(6, 3), torch.randn(4, 6)
    posterior = head(pooled)
    torch.testing.assert_close(posterior.mean, head.mean(pooled))
    torch.testing.assert_close(posterior.stddev.log() * 2, head.log_variance(pooled))


def test_initial_scale():
    torch.manual_seed(0)
    head = GaussianPosterior(64, 16, initial_stddev=0.4)
    head.init_weights()
    posterior = head(torch.randn(500, 64))
    torch.testing.assert_close(posterior.stddev, torch.full((500, 16), 0.4), rtol=0.1, atol=0)
    assert posterior.mean.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("half", ["autocast", "weights"])
def test_it_stays_in_float32_when_the_rest_does_not(half):
    head = GaussianPosterior(32, 4, initial_stddev=1.0)
    head.init_weights()
    pooled = torch.randn(8, 32)
    if half == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.nn.functional.linear(pooled, head.mean.weight).dtype == torch.bfloat16
            posterior = head(pooled)
        torch.testing.assert_close(posterior.mean, head(pooled).mean, rtol=1e-6, atol=1e-6)
    else:
        posterior = head.to(torch.bfloat16)(pooled.bfloat16())
    assert posterior.mean.dtype == posterior.stddev.dtype == torch.float32
    assert head.double()(pooled.double()).mean.dtype == torch.float64


def test_the_prior_is_the_standard_normal():
    prior = StandardNormalPrior(3)(2, dtype=torch.float64)
    assert prior.batch_shape == (2,) and prior.event_shape == (3,)
    assert prior.log_prob(torch.zeros(2, 3, dtype=torch.float64)).tolist() == pytest.approx([-2.756815599614018] * 2)


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown posterior_type 'vmf': choose one of 'gaussian'"):
        check_posterior_type("vmf")
    with pytest.raises(ValueError, match="Unknown prior_type 'vamp': choose one of 'standard_normal'"):
        check_prior_type("vamp")
