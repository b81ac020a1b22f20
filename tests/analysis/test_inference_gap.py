"""The inference gap where it is known: Gaussian posteriors in closed form, and a text VAE by quadrature."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace, MultivariateNormal, kl_divergence

from hf_lvm.analysis.inference_gap import fit_gaussian, measure_inference_gap, split_gap
from hf_lvm.data import LatentTextCollator
from hf_lvm.distributions import DiagonalGaussian
from tests.analysis.test_corpus import encoded, sensitive_vae, with_dropout
from tests.tiny_parts import perturb, row_generators, tiny_vae

LOG_EVIDENCE = torch.tensor([-10.0, -25.0, -3.0], dtype=torch.float64)


def exact_posterior():
    """Three posteriors over two dimensions with correlations of 0, 0.6 and -0.9."""
    mean = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.2, 0.1]], dtype=torch.float64)
    stddev = torch.tensor([[1.0, 0.5], [0.1, 0.4], [0.8, 0.3]], dtype=torch.float64)
    correlation = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    for row, value in enumerate((0.0, 0.6, -0.9)):
        correlation[row, 0, 1] = correlation[row, 1, 0] = value
    return MultivariateNormal(mean, correlation * stddev.unsqueeze(1) * stddev.unsqueeze(2))


def log_joint(latents):
    return exact_posterior().log_prob(latents) + LOG_EVIDENCE


def encoder():
    mean = torch.tensor([[1.0, -1.0], [1.5, 0.0], [0.5, 0.5]], dtype=torch.float64)
    stddev = torch.tensor([[1.0, 1.0], [0.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    return DiagonalGaussian(mean, stddev)


def best_gaussian():
    """The diagonal Gaussian nearest to a Gaussian has its mean, and the diagonal of its precision."""
    posterior = exact_posterior()
    return DiagonalGaussian(posterior.mean, posterior.precision_matrix.diagonal(dim1=1, dim2=2).rsqrt())


def divergence(gaussian):
    return kl_divergence(MultivariateNormal(gaussian.mean, gaussian.stddev.square().diag_embed()), exact_posterior())


def test_the_best_gaussian_is_found():
    fitted = fit_gaussian(log_joint, encoder(), steps=300, generator=row_generators(3))
    assert (divergence(fitted) - divergence(best_gaussian())).max() < 0.02
    assert (divergence(encoder()) - divergence(best_gaussian())).min() > 0.3, "the start must be worse"


def test_the_split_has_its_closed_form():
    fitted = best_gaussian()
    gap = split_gap(log_joint, encoder(), fitted, num_samples=20_000, chunk_size=20_000, generator=row_generators(3))
    torch.testing.assert_close(gap.log_likelihood, LOG_EVIDENCE, rtol=0, atol=0.05)
    torch.testing.assert_close(gap.approximation, divergence(fitted), rtol=0, atol=0.05)
    assert divergence(fitted)[1:].min() > 0.2
    for value, variance, expected in (
        (gap.log_likelihood, gap.log_likelihood_variance, LOG_EVIDENCE),
        (gap.amortization, gap.amortization_variance, divergence(encoder()) - divergence(fitted)),
    ):
        assert ((value - expected).abs() < 4 * variance.sqrt()).all()
        assert (variance.sqrt() < 0.02 * expected.abs()).all()
    # Without correlation the best Gaussian is exact.
    torch.testing.assert_close(gap.fitted_bound[0], LOG_EVIDENCE[0])


def test_an_encoder_that_is_exact_has_no_gap():
    posterior = best_gaussian()
    exact = DiagonalGaussian(posterior.mean[:1], posterior.stddev[:1])

    def joint(latents):
        return exact.log_prob(latents) - 7.0

    fitted = fit_gaussian(joint, exact, steps=20, generator=torch.Generator().manual_seed(0))
    gap = split_gap(joint, exact, fitted, num_samples=50, generator=torch.Generator().manual_seed(1))
    assert gap.amortization.abs().max() < 1e-3 and gap.approximation.abs().max() < 1e-3
    assert gap.log_likelihood.item() == pytest.approx(-7, abs=1e-3)


def test_steps_that_lead_astray_leave_the_start():
    # A rate so high that every step throws the mean several standard deviations away.
    fitted = fit_gaussian(log_joint, best_gaussian(), steps=16, learning_rate=3.0, generator=row_generators(3))
    assert torch.equal(fitted.mean, best_gaussian().mean) and torch.equal(fitted.stddev, best_gaussian().stddev)


def test_a_sentence_does_not_depend_on_the_others():
    together = fit_gaussian(log_joint, encoder(), steps=10, generator=row_generators(3))

    def joint_of_last(latents):
        return MultivariateNormal(exact_posterior().mean[2:], exact_posterior().covariance_matrix[2:]).log_prob(latents)

    start = DiagonalGaussian(encoder().mean[2:], encoder().stddev[2:])
    alone = fit_gaussian(joint_of_last, start, steps=10, generator=row_generators(3)[2:])
    torch.testing.assert_close(alone.mean, together.mean[2:])
    torch.testing.assert_close(alone.stddev, together.stddev[2:])


OPTIONS = {"num_sentences": 4, "steps": 60, "num_samples": 1000}


def vae_on_a_line():
    return perturb(tiny_vae(injection="embedding", latent_size=1), 0.2)


@pytest.fixture(scope="module")
def measured(word_processor):
    return measure_inference_gap(vae_on_a_line(), encoded(word_processor), word_processor, **OPTIONS)


def test_a_text_vae_agrees_with_quadrature(measured, word_processor):
    model, dataset = vae_on_a_line(), encoded(word_processor).select([0, 2, 5, 8])
    batch = LatentTextCollator(word_processor)([dataset[row] for row in range(4)])
    grid = torch.linspace(-20, 20, 2001)
    with torch.no_grad():
        posterior = model.encode(batch["input_ids"], batch["attention_mask"])
        log_density = torch.stack(
            [-model(labels=batch["labels"][[row] * 2001], latents=grid.unsqueeze(1)).reconstruction for row in range(4)], 1
        )
    log_joint = (log_density - 0.5 * grid.square().unsqueeze(1) - 0.5 * math.log(2 * math.pi)).double()
    log_step = math.log(40 / 2000)
    log_likelihood = log_joint.logsumexp(0) + log_step
    log_q = posterior.log_prob(grid.view(-1, 1, 1)).double()
    bound = ((log_q + log_step).exp() * (log_joint - log_q)).sum(0)
    assert measured["negative_log_likelihood"] == pytest.approx(-log_likelihood.mean().item(), abs=0.01)
    error = 4 * measured["amortization_gap_standard_error"]
    assert measured["encoder_negative_bound"] == pytest.approx(-bound.mean().item(), abs=error)
    assert measured["inference_gap"] == pytest.approx((log_likelihood - bound).mean().item(), abs=error)
    assert error < 0.1


def test_the_parts_sum_up(measured):
    assert measured["inference_gap"] == pytest.approx(measured["approximation_gap"] + measured["amortization_gap"])
    bounds = measured["encoder_negative_bound"] - measured["negative_log_likelihood"]
    assert measured["inference_gap"] == pytest.approx(bounds)
    assert measured["approximation_gap"] > -4 * measured["negative_log_likelihood_standard_error"]
    assert measured["amortization_gap"] > 4 * measured["amortization_gap_standard_error"] > 0, "the encoder is not trained"
    assert (measured["sentences"], measured["steps"], measured["num_samples"]) == (4, 60, 1000)


def test_batch_size_mode_and_gradients_do_not_matter(word_processor):
    options = {"num_sentences": 3, "steps": 3, "num_samples": 5}
    reference = measure_inference_gap(sensitive_vae(), encoded(word_processor), word_processor, **options)
    model = with_dropout(sensitive_vae())
    again = measure_inference_gap(model, encoded(word_processor), word_processor, **options, batch_size=1)
    assert again == pytest.approx(reference, rel=1e-3)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


class LaplacePosterior(nn.Module):
    """Any family that is no Gaussian."""

    def forward(self, pooled):
        return Independent(Laplace(pooled[:, :4], torch.ones_like(pooled[:, :4])), 1)


def test_wrong_input_is_named(word_processor):
    model = sensitive_vae()
    with pytest.raises(ValueError, match="num_sentences is 0"):
        measure_inference_gap(model, encoded(word_processor), word_processor, num_sentences=0)
    model.posterior_head = LaplacePosterior()
    with pytest.raises(ValueError, match="best diagonal Gaussian .* is a Independent: leave it out"):
        measure_inference_gap(model, encoded(word_processor), word_processor, num_sentences=2)
