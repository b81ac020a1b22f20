import pytest
import torch

from hf_lvm.distributions import VonMisesFisher
from hf_lvm.layers.posteriors import GaussianPosterior
from hf_lvm.layers.priors import VampPrior


def encode(head: GaussianPosterior, inputs_embeds: torch.Tensor, attention_mask: torch.Tensor):
    """The smallest encoder there is: the mean of the embeddings."""
    assert attention_mask.shape == inputs_embeds.shape[:2] and (attention_mask == 1).all()
    return head(inputs_embeds.mean(1))


def test_it_is_the_even_mixture_of_the_posteriors_of_its_pseudo_inputs():
    head, prior = GaussianPosterior(6, 3), VampPrior(3, embedding_size=6, components=4, length=5)
    prior.start_from_embeddings(torch.randn(20, 6))
    posterior = encode(head, **prior.encoder_inputs())
    value = torch.randn(7, 3)
    mixture = prior(7, posterior=posterior)
    expected = posterior.log_prob(value.unsqueeze(1)).logsumexp(1) - torch.tensor(4.0).log()
    torch.testing.assert_close(mixture.log_prob(value), expected)
    torch.testing.assert_close(mixture.mean, posterior.mean.mean(0).expand(7, 3))
    mixture.log_prob(value).sum().backward()
    for parameter in (prior.pseudo_inputs, *head.parameters()):
        assert parameter.grad.abs().max() > 0


def test_pseudo_inputs_start_apart():
    prior, table = VampPrior(3, embedding_size=6, components=4, length=5), torch.randn(20, 6)
    assert len(prior.pseudo_inputs.unique()) == 4 * 5 * 6
    prior.start_from_embeddings(table)
    rows = prior.pseudo_inputs.detach().flatten(0, 1)
    assert all((table == row).all(1).any() for row in rows) and len(rows.unique(dim=0)) > 5


def test_refusals():
    prior = VampPrior(3, embedding_size=6, components=4)
    with pytest.raises(ValueError, match=r"shape \(4, 3\), but got nothing: encode prior.encoder_inputs\(\)"):
        prior(2)
    with pytest.raises(ValueError, match=r"but got DiagonalGaussian of shape \(5, 3\)"):
        prior(2, posterior=GaussianPosterior(6, 3)(torch.randn(5, 6)))
    with pytest.raises(ValueError, match="but got VonMisesFisher"):
        prior(2, posterior=VonMisesFisher(torch.ones(4, 3), torch.ones(4)))
    with pytest.raises(ValueError, match="prior_components must be at least 1, but is 0"):
        VampPrior(3, embedding_size=6, components=0)
    with pytest.raises(ValueError, match="prior_pseudo_input_length must be at least 1, but is 0"):
        VampPrior(3, embedding_size=6, length=0)
