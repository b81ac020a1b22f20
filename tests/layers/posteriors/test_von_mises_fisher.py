import math

import pytest
import torch

from hf_lvm.layers.posteriors import VonMisesFisherPosterior


def test_a_fixed_concentration_costs_the_same_for_every_sentence():
    head = VonMisesFisherPosterior(8, 5, concentration=35.0)
    assert {name for name, _ in head.named_parameters()} == {"mean_direction.weight", "mean_direction.bias"}
    posterior, other = head(torch.randn(6, 8)), VonMisesFisherPosterior(8, 5, concentration=80.0)(torch.randn(6, 8))
    assert (posterior.concentration == 35).all()
    assert len(posterior.kl_to_uniform().unique()) == 1 and (other.kl_to_uniform() > posterior.kl_to_uniform()).all()
    assert not posterior.kl_to_uniform().requires_grad


def test_a_predicted_concentration_differs_between_sentences_and_learns():
    head = VonMisesFisherPosterior(8, 5)
    head.init_weights()
    torch.nn.init.normal_(head.concentration.weight)
    posterior = head(torch.randn(6, 8))
    assert len(posterior.concentration.unique()) == 6 and (posterior.concentration > 0).all()
    (posterior.rsample((3,))[..., 0].sum() + posterior.kl_to_uniform().sum()).backward()
    for parameter in head.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0


def test_initial_scale():
    for stddev in (1.0, 0.5):
        head = VonMisesFisherPosterior(64, 16, initial_stddev=stddev)
        head.init_weights()
        posterior = head(torch.randn(200, 64))
        torch.testing.assert_close(posterior.concentration, torch.full((200,), 16 / stddev**2), rtol=0.1, atol=0)
        assert posterior.mode.mean(0).norm() < 0.3  # all directions, not one


@pytest.mark.parametrize("output", [-200.0, 1e5])
def test_extreme_outputs_stay_finite(output):
    head = VonMisesFisherPosterior(8, 5)
    torch.nn.init.constant_(head.concentration.bias, output)
    posterior = head(torch.randn(6, 8))
    sample = posterior.rsample((2,))
    loss = sample.sum() + posterior.kl_to_uniform().sum() + posterior.log_prob(sample).sum()
    loss.backward()
    assert loss.isfinite() and all(parameter.grad.isfinite().all() for parameter in head.parameters())
    torch.testing.assert_close(sample.norm(dim=-1), torch.ones(2, 6))


@pytest.mark.parametrize("concentration", [0.0, -3.0, math.inf])
def test_refusals(concentration):
    with pytest.raises(ValueError, match="posterior_concentration must be a positive number, or None to predict it, but is"):
        VonMisesFisherPosterior(8, 5, concentration=concentration)
    with pytest.raises(ValueError, match="needs a latent_size of at least 2, but it is 1"):
        VonMisesFisherPosterior(8, 1)
