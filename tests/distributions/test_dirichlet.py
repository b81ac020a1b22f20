"""The Dirichlet against torch's own closed forms and against quadrature."""

import pytest
import torch
from torch.distributions import kl_divergence

from hf_lvm.distributions import Dirichlet
from hf_lvm.distributions.dirichlet import sample_log_gamma
from tests.tiny_parts import row_generators

CONCENTRATIONS = torch.tensor([[0.3, 1.2, 4.0], [0.02, 0.05, 1.0], [30.0, 20.0, 1.0]], dtype=torch.float64)


def beta_grid(points: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares (N, 1, 2) and weights (N,) for integrals over the segment; x = sin^2 t, so that the ends are no singularities."""
    place = (torch.arange(points, dtype=torch.float64) + 0.5) / points * torch.pi / 2
    shares = torch.stack([place.sin().square(), place.cos().square()], -1)
    return shares.unsqueeze(1), 2 * place.sin() * place.cos() * torch.pi / 2 / points


def test_samples_have_the_moments_of_the_distribution():
    count = 40_000
    posterior = Dirichlet(CONCENTRATIONS)
    samples = posterior.sample((count,))
    assert samples.shape == (count, 3, 3) and not samples.requires_grad
    torch.testing.assert_close(samples.sum(-1), torch.ones(count, 3, dtype=torch.float64))
    error = (samples.mean(0) - posterior.mean) / (posterior.variance / count).sqrt()
    assert error.abs().max() < 4.5
    # That of the squares, whose variance the sample itself tells.
    squares = samples.square()
    wanted = posterior.variance + posterior.mean.square()
    assert ((squares.mean(0) - wanted) / (squares.std(0) / count**0.5)).abs().max() < 4.5


def test_small_shares_have_their_logarithms():
    """E[log share] = digamma(a) - digamma(sum of a), far below what float32 can hold."""
    concentration, count = CONCENTRATIONS[1:2], 40_000
    logs = sample_log_gamma(concentration, count).log_softmax(-1)
    wanted = torch.digamma(concentration) - torch.digamma(concentration.sum(-1, keepdim=True))
    assert wanted.min() < -50
    assert ((logs.mean(0) - wanted) / (logs.std(0) / count**0.5)).abs().max() < 4.5


def test_rows_that_are_rejected_draw_again(monkeypatch):
    """One proposal at a time, so that every round leaves some rows; neither the moments nor the other rows feel it."""
    monkeypatch.setattr("hf_lvm.distributions.dirichlet.PROPOSALS", 1)
    concentration = torch.full((40, 100), 0.2, dtype=torch.float64)
    values = sample_log_gamma(concentration, 100, row_generators(40)).exp()
    assert values.mean().item() == pytest.approx(0.2, abs=0.005)
    assert values.var().item() == pytest.approx(0.2, abs=0.02)
    alone = sample_log_gamma(concentration[:1], 100, row_generators(1)).exp()
    assert torch.equal(values[:, 0], alone[:, 0])


def test_density_mean_and_divergence_are_integrals_over_the_segment():
    shares, weights = beta_grid()
    posterior = Dirichlet(torch.tensor([[1.5, 2.5], [4.0, 0.7]], dtype=torch.float64))
    prior = Dirichlet(torch.tensor([[0.6, 0.6]], dtype=torch.float64).expand(2, 2))
    log_prob = posterior.log_prob(shares)
    mass = log_prob.exp() * weights.unsqueeze(-1)
    torch.testing.assert_close(mass.sum(0), torch.ones(2, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close((mass.unsqueeze(-1) * shares).sum(0), posterior.mean, rtol=1e-4, atol=0)
    divergence = (mass * (log_prob - prior.log_prob(shares))).sum(0)
    torch.testing.assert_close(kl_divergence(posterior, prior), divergence, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kl_divergence(prior, prior), torch.zeros(2, dtype=torch.float64))


def value_of(shares: torch.Tensor) -> torch.Tensor:
    """A function of shares (..., 2) whose expectation moves with both concentrations."""
    return torch.sin(5 * shares[..., 0]) + shares[..., 0].square() * shares[..., 1]


@pytest.mark.parametrize("concentrations", [(0.4, 1.3), (3.0, 2.0), (12.0, 40.0)])
def test_the_pathwise_gradient_is_that_of_the_integral(concentrations):
    concentration = torch.tensor([concentrations], dtype=torch.float64, requires_grad=True)
    shares, weights = beta_grid()
    density = Dirichlet(concentration).log_prob(shares).exp().squeeze(-1)
    (exact,) = torch.autograd.grad((density * weights * value_of(shares).squeeze(-1)).sum(), concentration)
    estimates = []
    for _ in range(20):
        samples = Dirichlet(concentration).rsample((8_000,))
        estimates.append(torch.autograd.grad(value_of(samples).mean(), concentration)[0])
    estimates = torch.stack(estimates)
    error = estimates.std(0) / len(estimates) ** 0.5
    # torch's derivative of a share is an approximation, good to one part in a thousand.
    assert ((estimates.mean(0) - exact).abs() < 4.5 * error + 1e-3 * exact.abs().max()).all()
    assert error.norm() < 0.02 * exact.norm()
    # The sample as it was drawn, with nothing of how the concentrations moved it, has no gradient at all.
    assert not Dirichlet(concentration).sample().requires_grad


def test_a_second_derivative_is_refused():
    concentration = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(Dirichlet(concentration).rsample().square().sum(), concentration, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable"):
        gradient.sum().backward()


def test_noise_belongs_to_rows():
    together = Dirichlet(CONCENTRATIONS).rsample((2,), generator=row_generators(3))
    for row, generator in enumerate(row_generators(3)):
        alone = Dirichlet(CONCENTRATIONS[row : row + 1]).rsample((2,), generator=[generator])
        assert torch.equal(together[:, row], alone[:, 0])
    one = Dirichlet(CONCENTRATIONS).sample(generator=torch.Generator().manual_seed(3))
    assert torch.equal(one, Dirichlet(CONCENTRATIONS).sample(generator=torch.Generator().manual_seed(3)))


def test_float32_and_the_same_distribution_without_a_gradient():
    concentration = torch.full((2, 5), 0.05, requires_grad=True)
    samples = Dirichlet(concentration).rsample((1000,))
    assert samples.dtype == torch.float32 and samples.min() > 0 and torch.isfinite(samples.log()).all()
    (gradient,) = torch.autograd.grad(samples.square().sum(), concentration)
    assert torch.isfinite(gradient).all()
    assert not Dirichlet(concentration).detached().concentration.requires_grad
    assert Dirichlet(concentration[0]).expand((4,)).batch_shape == (4,)


def test_refusals():
    with pytest.raises(ValueError, match=r"concentration has shape \(4, 1\)"):
        Dirichlet(torch.ones(4, 1))
    with pytest.raises(ValueError, match=r"Only a batch of shape \(B,\) can be sampled; this one has \(2, 3\)"):
        Dirichlet(torch.ones(2, 3, 4)).sample()
    with pytest.raises(ValueError, match="one generator a row"):
        Dirichlet(torch.ones(2, 3)).sample(generator=row_generators(3))
