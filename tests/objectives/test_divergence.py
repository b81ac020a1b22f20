import pytest
import torch
from torch.distributions import Independent, Laplace, kl_divergence

from hf_lvm.distributions import DiagonalGaussian, GaussianMixture, HypersphericalUniform, VonMisesFisher, standard_normal
from hf_lvm.objectives.divergence import kl_terms

MEAN = torch.tensor([[0.5, -1.0], [0.0, 0.2]], dtype=torch.float64)
STDDEV = torch.tensor([[0.5, 1.3], [0.9, 1.0]], dtype=torch.float64)


def test_two_gaussians_have_a_closed_form_for_each_dimension():
    posterior, prior = DiagonalGaussian(MEAN, STDDEV), standard_normal(2, 2, dtype=torch.float64)
    terms = kl_terms(posterior, prior)
    assert not terms.monte_carlo
    torch.testing.assert_close(terms.per_dimension, posterior.kl_per_dimension(prior))
    torch.testing.assert_close(terms.kl, kl_divergence(posterior, prior))


def test_the_sphere_has_a_closed_form():
    posterior, prior = VonMisesFisher(torch.randn(2, 5), torch.tensor([0.0, 30.0])), HypersphericalUniform(2, 5)
    terms = kl_terms(posterior, prior)
    assert not terms.monte_carlo and terms.per_dimension is None
    assert terms.kl[0] == 0 and terms.kl[1] > 1
    estimate = (posterior.log_prob(samples := posterior.sample((20_000,))) - prior.log_prob(samples))[:, 1]
    assert abs(estimate.mean() - terms.kl[1]) < 5 * estimate.std() / 20_000**0.5


def one_component(mean: torch.Tensor, stddev: torch.Tensor) -> GaussianMixture:
    return GaussianMixture(torch.zeros(1, dtype=torch.float64), mean, stddev, 2)


def test_the_estimate_is_the_divergence_in_the_mean_and_so_is_its_gradient():
    """A mixture of one component is a Gaussian, whose divergence is known in closed form."""
    center = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    width = torch.tensor([[1.5, 0.8]], dtype=torch.float64)
    parameters = [value.clone().requires_grad_() for value in (MEAN, STDDEV, center, width)]
    mean, stddev, center, width = parameters

    def with_gradient(kl: torch.Tensor) -> torch.Tensor:
        gradients = torch.autograd.grad(kl.sum(), parameters)
        return torch.cat([kl.detach(), *(gradient.flatten() for gradient in gradients)])

    prior = DiagonalGaussian(center.expand(2, 2), width.expand(2, 2))
    exact = with_gradient(kl_terms(DiagonalGaussian(mean, stddev), prior).kl)
    estimates = []
    for _ in range(60):
        posterior = DiagonalGaussian(mean, stddev)
        terms = kl_terms(posterior, one_component(center, width), posterior.rsample((2_000,)))
        assert terms.monte_carlo and terms.per_dimension is None and terms.kl.shape == (2,)
        estimates.append(with_gradient(terms.kl))
    estimates = torch.stack(estimates)
    error = estimates.std(0) / 60**0.5
    assert (error.norm() / exact.norm()).item() < 0.02
    assert ((estimates.mean(0) - exact) / error.clamp(min=1e-12)).square().sum() < 60  # 14 numbers
    assert ((estimates.mean(0) + exact) / error.clamp(min=1e-12)).square().sum() > 1000  # a sign that is turned is seen


def test_an_estimate_may_be_negative_for_a_sentence():
    posterior = DiagonalGaussian(MEAN, STDDEV)
    prior = GaussianMixture(torch.zeros(3).double(), torch.randn(3, 2).double(), torch.ones(3, 2).double(), 2)
    kl = torch.stack([kl_terms(posterior, prior, posterior.rsample((1,))).kl for _ in range(200)])
    assert (kl < 0).any() and (kl.mean(0) > 0).all()


def test_refusals():
    posterior = DiagonalGaussian(MEAN, STDDEV)
    with pytest.raises(ValueError, match=r"KL\(DiagonalGaussian \|\| GaussianMixture\) has no closed form: pass samples"):
        kl_terms(posterior, one_component(MEAN[:1], STDDEV[:1]))
    sphere = VonMisesFisher(MEAN, torch.ones(2, dtype=torch.float64))
    for first, second in ((sphere, standard_normal(2, 2)), (posterior, HypersphericalUniform(2, 2))):
        with pytest.raises(ValueError, match="one lives on the unit sphere and the other does not"):
            kl_terms(first, second, torch.ones(1, 2, 2))


def test_any_registered_closed_form_is_used():
    pair = [Independent(Laplace(MEAN, scale * STDDEV), 1) for scale in (1, 2)]
    terms = kl_terms(*pair)
    assert not terms.monte_carlo
    torch.testing.assert_close(terms.kl, kl_divergence(*pair))
