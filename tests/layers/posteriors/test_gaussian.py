import pytest
import torch

from hf_lvm.layers.posteriors import POSTERIORS, GaussianPosterior, check_posterior_type


def test_two_linear_maps():
    head, pooled = GaussianPosterior(6, 3), torch.randn(4, 6)
    posterior = head(pooled)
    torch.testing.assert_close(posterior.mean, head.mean(pooled))
    torch.testing.assert_close(posterior.stddev.log() * 2, head.log_variance(pooled))


@pytest.mark.parametrize("name", ["gaussian", "batch_norm"])
def test_initial_scale(name):
    torch.manual_seed(0)
    head = POSTERIORS[name](64, 16, initial_stddev=0.4)
    head.init_weights()
    posterior = head(torch.randn(500, 64))
    torch.testing.assert_close(posterior.stddev, torch.full((500, 16), 0.4), rtol=0.1, atol=0)
    assert posterior.mean.std().item() == pytest.approx({"gaussian": 1, "batch_norm": 0.6}[name], abs=0.1)


@pytest.mark.parametrize("name", ["gaussian", "batch_norm"])
def test_standard_deviations_under_a_bound(name):
    torch.manual_seed(0)
    head = POSTERIORS[name](64, 16, initial_stddev=0.4, largest_stddev=1.5)
    head.init_weights()
    torch.testing.assert_close(head(torch.randn(500, 64)).stddev, torch.full((500, 16), 0.4), rtol=0.1, atol=0)
    with torch.no_grad():
        head.log_variance.weight.mul_(1e6)
    posterior = head(torch.randn(500, 64))
    assert posterior.stddev.max().item() == pytest.approx(1.5) and posterior.stddev.isfinite().all()
    with pytest.raises(ValueError, match="initial_stddev must be below largest_stddev, 0.5, but is 0.5"):
        POSTERIORS[name](64, 16, initial_stddev=0.5, largest_stddev=0.5)


@pytest.mark.parametrize("half", ["autocast", "weights"])
@pytest.mark.parametrize("name", POSTERIORS)
def test_it_stays_in_float32_when_the_rest_does_not(name, half):
    head = POSTERIORS[name](32, 4).eval()
    head.init_weights()
    pooled = torch.randn(8, 32)
    if half == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.nn.functional.linear(pooled, torch.ones(4, 32)).dtype == torch.bfloat16
            posterior = head(pooled)
            value = posterior.rsample()
            assert value.dtype == posterior.log_prob(value).dtype == torch.float32
        torch.testing.assert_close(posterior.mean, head(pooled).mean, rtol=1e-6, atol=1e-6)
    else:
        posterior = head.to(torch.bfloat16)(pooled.bfloat16())
    assert posterior.mean.dtype == posterior.stddev.dtype == torch.float32
    assert head.double()(pooled.double()).mean.dtype == torch.float64


def test_unknown_names():
    with pytest.raises(ValueError, match="Unknown posterior_type 'vmf': choose one of 'gaussian', 'batch_norm', 'delta'"):
        check_posterior_type("vmf")
