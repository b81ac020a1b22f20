import pytest
import torch

from hf_lvm.layers.priors import FlowPrior, StandardNormalPrior


def trained(size: int, layers: int = 4) -> FlowPrior:
    """A flow that is far from the identity."""
    prior = FlowPrior(size, layers=layers).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return prior


def test_a_new_flow_is_the_standard_normal():
    value = torch.randn(5, 3)
    torch.testing.assert_close(FlowPrior(3)(5).log_prob(value), StandardNormalPrior(3)(5).log_prob(value))


@pytest.mark.parametrize("size", [2, 3, 8])
def test_layers_are_inverted_and_their_determinants_are_those_of_the_jacobian(size):
    value = torch.randn(6, size, dtype=torch.float64)
    for layer in trained(size).layers:
        moved = layer(value)
        assert (moved - value).abs().max() > 0.1
        back, log_determinant = layer.inverse(moved)
        torch.testing.assert_close(back, value)
        for row in range(6):
            jacobian = torch.autograd.functional.jacobian(layer, value[row])
            torch.testing.assert_close(log_determinant[row], -jacobian.det().abs().log())


@torch.no_grad()
def quadrature(prior: FlowPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (N, 2) and the mass of the prior at each: a grid that is dense in the middle and reaches out to 200."""
    even = torch.linspace(-6, 6, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(even.sinh(), even.sinh())
    cells = torch.cartesian_prod(even.cosh(), even.cosh()).prod(-1) * (even[1] - even[0]) ** 2
    return grid, prior(1, dtype=torch.float64).log_prob(grid).exp() * cells


def test_the_density_integrates_to_one_and_is_that_of_the_samples():
    prior = trained(2)
    grid, mass = quadrature(prior)
    assert mass.sum().item() == pytest.approx(1, abs=1e-4)
    samples = prior(1, dtype=torch.float64).sample((20_000,))[:, 0]
    for statistic in (torch.tanh, torch.sin, lambda z: z.tanh().prod(-1)):
        exact, values = mass @ statistic(grid), statistic(samples)
        assert ((values.mean(0) - exact).abs() < 5 * values.std(0) / 20_000**0.5).all()
    # Far from the prior it starts as, so that agreement is no accident.
    assert (mass - quadrature(FlowPrior(2).double())[1]).abs().sum() > 0.3


def test_every_dimension_comes_to_depend_on_every_other():
    layers = trained(5).layers
    jacobian = torch.autograd.functional.jacobian(
        lambda z: layers[3](layers[2](layers[1](layers[0](z)))), torch.randn(5, dtype=torch.float64)
    )
    assert (jacobian.abs() > 1e-6).all()


def test_gradients_reach_every_layer():
    prior = trained(4)
    prior(5, dtype=torch.float64).log_prob(torch.randn(5, 4, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in prior.parameters())
    assert prior(5).sample().requires_grad is False and prior(5).rsample().requires_grad


def test_refusals():
    with pytest.raises(ValueError, match="'flow' needs a latent_size of at least 2, but it is 1"):
        FlowPrior(1)
    with pytest.raises(ValueError, match="prior_flow_layers must be at least 1, but is 0"):
        FlowPrior(2, layers=0)
