"""Posterior means and standard deviations in, active units, mutual information and KL out."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Laplace

from hf_lvm.metrics.latent_diagnostics.latent_diagnostics import compute_latent_diagnostics, diagnose_posterior


def test_a_used_and_a_collapsed_dimension_are_told_apart():
    # 40 sentences 10 apart in dimension 0; dimension 1 equals the prior.
    means = np.zeros((40, 2))
    means[:, 0] = 10.0 * np.arange(40)
    deviations = np.ones((40, 2))
    deviations[:, 0] = 0.1
    result = compute_latent_diagnostics(means, deviations)
    assert (result["active_units"], result["active_share"], result["latent_size"]) == (1, 0.5, 2)
    assert result["mutual_information"] == pytest.approx(math.log(40))
    assert result["mutual_information_ceiling"] == pytest.approx(math.log(40))
    assert result["batch_mutual_information"] == pytest.approx((32 * math.log(32) + 8 * math.log(8)) / 40)
    assert result["batch_mutual_information_ceiling"] == pytest.approx(math.log(32))
    assert result["kl_per_dimension"][1] == pytest.approx(0, abs=1e-12)
    closed_form = 0.5 * (means[:, 0] ** 2 + 0.01 - 1 - math.log(0.01)).mean()
    assert result["kl_per_dimension"][0] == pytest.approx(closed_form)
    assert result["kl"] == pytest.approx(closed_form)


def test_kl_of_another_prior_and_own_samples_are_used_when_given():
    generator = np.random.default_rng(0)
    means, latents = generator.normal(size=(2, 6, 3))
    deviations = np.full((6, 3), 0.5)
    kl = generator.uniform(size=(6, 3))
    result = compute_latent_diagnostics(means, deviations, latents=latents, kl_per_dimension=kl)
    np.testing.assert_allclose(result["kl_per_dimension"], kl.mean(0))
    assert result["kl"] == pytest.approx(kl.sum(1).mean())
    log_density = -0.5 * (((latents[:, None] - means) / 0.5) ** 2).sum(-1)
    expected = (np.diag(log_density) - np.log(np.exp(log_density).mean(1))).mean()
    assert result["mutual_information"] == pytest.approx(expected)
    assert result["batch_mutual_information"] == pytest.approx(expected)


def test_a_kl_without_parts_is_taken_as_it_is_even_below_zero():
    means = np.random.default_rng(0).normal(size=(4, 3))
    with_parts = compute_latent_diagnostics(means, np.ones((4, 3)))
    without = compute_latent_diagnostics(means, np.ones((4, 3)), kl=[3.0, -1.0, 0.5, 1.5])
    assert (without["kl"], without["kl_per_dimension"]) == (1.0, None)
    changed = {"kl", "kl_per_dimension"}
    assert {k: v for k, v in without.items() if k not in changed} == {k: v for k, v in with_parts.items() if k not in changed}


def test_posteriors_of_another_family():
    # Two groups of sentences that a Laplace posterior tells apart, and only them: log 2 nats.
    means = torch.tensor([[50.0, 0.0], [-50.0, 0.0]] * 20, dtype=torch.float64)
    posterior = Independent(Laplace(means, torch.ones_like(means)), 1)
    latents = posterior.sample()
    result = diagnose_posterior(posterior, latents, means, torch.full((40,), 2.5))
    assert (result["active_units"], result["kl"], result["kl_per_dimension"]) == (1, 2.5, None)
    assert result["mutual_information"] == pytest.approx(math.log(2))
    assert result["batch_mutual_information"] == pytest.approx(math.log(2))


def test_the_seed_alone_decides_the_samples():
    means = np.random.default_rng(1).normal(size=(20, 2))
    runs = [compute_latent_diagnostics(means, np.ones((20, 2)), seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0]["mutual_information"] != runs[2]["mutual_information"]
    assert runs[0]["kl"] == runs[2]["kl"]


def test_threshold_and_batch_size_are_passed_on():
    means = np.array([[0.0, 0.0], [0.0, 0.3], [0.0, 0.6]])
    result = compute_latent_diagnostics(means, np.ones((3, 2)), threshold=0.1, batch_size=1)
    assert result["active_units"] == 0  # the variance is 0.09
    assert result["batch_mutual_information"] == pytest.approx(0)
    assert result["batch_size"] == 1


def test_wrong_input_is_named():
    means, deviations = np.zeros((4, 2)), np.ones((4, 2))
    with pytest.raises(ValueError, match=r"standard_deviations has shape \(3, 2\) and means has \(4, 2\)"):
        compute_latent_diagnostics(means, deviations[:3])
    with pytest.raises(ValueError, match="must be positive"):
        compute_latent_diagnostics(means, 0 * deviations)
    with pytest.raises(ValueError, match="latents has shape"):
        compute_latent_diagnostics(means, deviations, latents=np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"means has shape \(4,\)"):
        compute_latent_diagnostics(means[:, 0], deviations)
    with pytest.raises(ValueError, match="means holds NaN"):
        compute_latent_diagnostics(means + math.nan, deviations)
    with pytest.raises(ValueError, match="both kl and kl_per_dimension"):
        compute_latent_diagnostics(means, deviations, kl_per_dimension=deviations, kl=np.ones(4))
    with pytest.raises(ValueError, match=r"kl has shape \(3,\) for 4 sentences"):
        compute_latent_diagnostics(means, deviations, kl=np.ones(3))
    with pytest.raises(ValueError, match="at least two data points"):
        compute_latent_diagnostics(means[:1], deviations[:1])
