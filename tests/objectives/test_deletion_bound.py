"""The exact bound of deletions: what lengths of a compression add to it."""

import pytest
import torch

from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.objectives import deletion_bound


def test_factors_of_lengths_are_averaged_over_all_masks():
    generator = torch.Generator().manual_seed(0)
    scores, likelihood, prior = (torch.randn(2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    log_length = torch.tensor([-torch.inf, -0.5, -1.5, -2.0], dtype=torch.float64)
    posterior = CanonicalDeletion(scores)
    terms = deletion_bound("elbo", posterior, likelihood, prior, log_length=log_length)
    without = deletion_bound("elbo", posterior, likelihood, prior)
    masks = posterior.enumerate_support()
    expected = (posterior.log_prob(masks).exp() * log_length[masks.sum(-1)]).sum(0)
    torch.testing.assert_close(terms.kl, without.kl - expected)
    torch.testing.assert_close(terms.loss, without.loss - expected)


def test_a_length_that_the_prior_forbids_and_q_allows_has_infinite_divergence():
    zeros = torch.zeros(2, 4, 4, dtype=torch.float64)
    forbids_three = torch.tensor([0.0, 0.0, 0.0, -torch.inf], dtype=torch.float64)
    terms = deletion_bound("elbo", CanonicalDeletion(zeros), zeros, zeros, log_length=forbids_three)
    assert (terms.kl == torch.inf).all()
    # A row of two words cannot keep three, whatever that would cost.
    shorter = CanonicalDeletion(zeros, lengths=torch.tensor([3, 2]))
    kl = deletion_bound("elbo", shorter, zeros, zeros, log_length=forbids_three).kl
    assert kl[0] == torch.inf and kl[1].isfinite()


def test_the_gradient_is_finite_where_a_length_is_impossible():
    scores = torch.zeros(1, 4, 4, dtype=torch.float64, requires_grad=True)
    log_length = torch.tensor([-torch.inf, 0.0, -1.0, -2.0], dtype=torch.float64)
    zeros = torch.zeros_like(scores)
    deletion_bound("elbo", CanonicalDeletion(scores), zeros, zeros, log_length=log_length).loss.sum().backward()
    assert scores.grad.isfinite().all() and (scores.grad != 0).any()


def test_the_marginal_takes_no_factors_of_lengths():
    zeros = torch.zeros(1, 3, 3)
    with pytest.raises(ValueError, match="log_length is no sum over pairs"):
        deletion_bound("marginal", CanonicalDeletion(zeros), zeros, zeros, log_length=torch.zeros(3))
