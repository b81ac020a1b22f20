"""Refinement on the linear Gaussian model, whose best diagonal posterior is known, in float64.

z ~ N(0, I), x | z ~ N(W z, sigma^2 I). The exact posterior has the precision I + W'W / sigma^2; the diagonal Gaussian nearest
to it in KL(q || p) has its mean, and the inverse of the precision's diagonal as its variance.
"""

import pytest
import torch
from torch.autograd import gradcheck

from hf_lvm.distributions import DiagonalGaussian, standard_normal
from hf_lvm.objectives import refine_gaussian

SIZE, SIGMA, ROWS = 2, 0.8, 3
WEIGHT = torch.tensor([[1.0, 0.4], [-0.3, 0.9], [0.5, 0.5]], dtype=torch.float64)
TEXTS = torch.tensor([[1.0, -2.0, 0.5], [0.2, 0.1, -0.4], [-3.0, 1.0, 2.0]], dtype=torch.float64)
ZEROS = torch.zeros(ROWS, SIZE, dtype=torch.float64)


def negative_bound(texts=TEXTS, weight=WEIGHT):
    """The expectation over q in closed form, up to a constant."""

    def of(mean, log_variance):
        posterior = DiagonalGaussian(mean, (0.5 * log_variance).exp())
        residual = (texts - mean @ weight.T).square().sum(1) + (log_variance.exp() * weight.square().sum(0)).sum(1)
        prior = standard_normal(len(mean), SIZE, dtype=mean.dtype)
        return residual / (2 * SIGMA**2) + posterior.kl_per_dimension(prior).sum(1)

    return of


def noisy_bound(texts, generators, samples: int = 4):
    """The same with samples of z, fresh at every call, from a generator a row."""

    def of(mean, log_variance):
        posterior = DiagonalGaussian(mean, (0.5 * log_variance).exp())
        latents = posterior.rsample((samples,), generators)
        residual = (texts - latents @ WEIGHT.T).square().sum(-1).mean(0)
        prior = standard_normal(len(mean), SIZE, dtype=mean.dtype)
        return residual / (2 * SIGMA**2) + posterior.kl_per_dimension(prior).sum(1)

    return of


def optimum() -> tuple[torch.Tensor, torch.Tensor]:
    precision = torch.eye(SIZE, dtype=torch.float64) + WEIGHT.T @ WEIGHT / SIGMA**2
    mean = torch.linalg.solve(precision, WEIGHT.T @ TEXTS.T / SIGMA**2).T
    return mean, -precision.diagonal().log().expand(ROWS, SIZE)


def row_generators(rows):
    return [torch.Generator().manual_seed(row) for row in rows]


def test_many_steps_reach_the_best_gaussian():
    for max_grad_norm in (0.0, 5.0):
        result = refine_gaussian(
            ZEROS, ZEROS, negative_bound(), steps=300, learning_rate=0.1, momentum=0.5, max_grad_norm=max_grad_norm
        )
        for found, expected in zip(result, optimum(), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
            assert not found.requires_grad


def test_the_steps_are_gradient_descent_with_momentum_clipped_by_sentence():
    mean, log_variance, speeds = ZEROS, ZEROS, [ZEROS, ZEROS]
    clipped = 0
    for _ in range(3):
        gradients = []
        for row in range(ROWS):
            parts = [part[row : row + 1].clone().requires_grad_() for part in (mean, log_variance)]
            gradients.append(torch.autograd.grad(negative_bound(TEXTS[row : row + 1])(*parts).sum(), parts))
            clipped += sum(gradient.norm().item() > 1.0 for gradient in gradients[-1])
        for part in range(2):
            gradient = torch.cat([row[part] * min(1.0, 1.0 / row[part].norm().item()) for row in gradients])
            speeds[part] = 0.5 * speeds[part] + gradient
        mean, log_variance = mean - 0.2 * speeds[0], log_variance - 0.2 * speeds[1]
    assert 3 < clipped < 15
    found = refine_gaussian(ZEROS, ZEROS, negative_bound(), steps=3, learning_rate=0.2, momentum=0.5, max_grad_norm=1.0)
    torch.testing.assert_close(found[0], mean)
    torch.testing.assert_close(found[1], log_variance)


def test_a_sentence_is_refined_alike_alone_and_in_a_batch():
    settings = {"steps": 5, "learning_rate": 0.2, "momentum": 0.5, "max_grad_norm": 1.0}
    together = refine_gaussian(ZEROS, ZEROS, noisy_bound(TEXTS, row_generators(range(ROWS))), **settings)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = refine_gaussian(ZEROS[one], ZEROS[one], noisy_bound(TEXTS[one], row_generators([row])), **settings)
        for part in range(2):
            torch.testing.assert_close(alone[part], together[part][one], rtol=1e-12, atol=1e-12)


def whole_procedure(mean, log_variance, weight):
    """A training loss of the semi-amortized model: the bound after refinement, with clipping at work in some rows."""
    bound = negative_bound(TEXTS, weight)
    refined = refine_gaussian(
        mean, log_variance, bound, steps=4, learning_rate=0.3, momentum=0.5, max_grad_norm=1.5, differentiable=True
    )
    return bound(*refined)


def test_the_gradient_through_the_refinement_is_that_of_finite_differences():
    arguments = [part.clone().requires_grad_() for part in (ZEROS + 0.1, ZEROS - 0.2, WEIGHT)]
    assert gradcheck(whole_procedure, arguments)
    # Without the refinement in the graph, the encoder has no gradient and the decoder another one.
    exact = torch.autograd.grad(whole_procedure(*arguments).sum(), arguments[2])[0]
    bound = negative_bound(TEXTS, arguments[2])
    refined = refine_gaussian(*arguments[:2], bound, steps=4, learning_rate=0.3, momentum=0.5, max_grad_norm=1.5)
    partial = torch.autograd.grad(bound(*refined).sum(), arguments[2])[0]
    assert (exact - partial).norm() > 0.01 * exact.norm()


def test_attention_inside_the_bound_can_be_differentiated_through_the_refinement():
    key = torch.randn(ROWS, 1, 4, SIZE, requires_grad=True)

    def bound(mean, log_variance):
        query = torch.cat([mean, log_variance], 1).view(ROWS, 1, 2, SIZE)
        return torch.nn.functional.scaled_dot_product_attention(query, key, key).square().sum((1, 2, 3))

    begin = torch.zeros(ROWS, SIZE, requires_grad=True)
    refined = refine_gaussian(begin, begin, bound, steps=2, learning_rate=0.1, differentiable=True)
    bound(*refined).sum().backward()
    assert begin.grad.abs().sum() > 0 and key.grad.abs().sum() > 0


def test_without_gradients_it_still_takes_its_steps():
    with torch.no_grad():
        refined = refine_gaussian(ZEROS, ZEROS, negative_bound(), steps=2, learning_rate=0.1, differentiable=True)
    assert not refined[0].requires_grad and (refined[0] != 0).all()
    assert refine_gaussian(ZEROS, ZEROS, negative_bound(), steps=0, learning_rate=0.1)[0].equal(ZEROS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"momentum": 1.0}, "0 <= momentum < 1"),
        ({"max_grad_norm": -1.0}, "max_grad_norm=-1.0"),
        ({"log_variance": ZEROS[:, :1]}, r"mean has shape \(3, 2\) and log_variance \(3, 1\)"),
        ({"negative_bound": lambda *parts: negative_bound()(*parts).mean()}, r"returned shape \(\) for 3 sentences"),
    ],
)
def test_refusals(change, said):
    arguments = {"mean": ZEROS, "log_variance": ZEROS, "negative_bound": negative_bound(), "steps": 2, "learning_rate": 0.1}
    with pytest.raises(ValueError, match=said):
        refine_gaussian(**{**arguments, **change})
