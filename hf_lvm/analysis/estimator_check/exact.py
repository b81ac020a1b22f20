"""Objectives of discrete latents summed over all values of z, or all sets of K samples."""

import torch
from torch.distributions import Distribution

from hf_lvm.estimators.enumeration import ExactDraws
from hf_lvm.objectives import discrete_bound

# Values of z, and sets of K of them, that are summed over.
BUDGET = 10_000
SET_BUDGET = 100_000


def exact_loss(
    objective: str,
    posterior: Distribution,
    prior: Distribution,
    log_likelihood: torch.Tensor,
    *,
    num_samples: int = 1,
    kl_weight: float = 1.0,
    risk_sharpness: float = 1.0,
) -> torch.Tensor:
    """The loss of each row as it is in expectation, in nats: (B,). Its gradient is what estimators estimate.

    Args:
        objective: `elbo`, `marginal`, `iwae` (of `num_samples` samples) or `minimum_risk` (over the full support).
        posterior: q(z|x), batch shape (B,).
        prior: p(z), batch shape (B,).
        log_likelihood: (S, B), log p(x|z) of `posterior.enumerate_support()`.

    Raises:
        ValueError: too many sets of samples to sum over.
    """
    values = posterior.enumerate_support()
    if objective in ("elbo", "marginal"):
        return discrete_bound(objective, ExactDraws(values, posterior), log_likelihood, prior, kl_weight=kl_weight).loss
    log_prob = posterior.log_prob(values)
    if objective == "iwae":
        log_weights = log_likelihood + kl_weight * (prior.log_prob(values) - log_prob)
        return -_k_sample_bound(log_prob, log_weights, num_samples)
    costs = -(log_likelihood + kl_weight * (prior.log_prob(values) - log_prob.detach()))
    return ((risk_sharpness * log_prob).softmax(0) * costs).sum(0)


def _k_sample_bound(log_prob: torch.Tensor, log_weights: torch.Tensor, num_samples: int) -> torch.Tensor:
    """E[log 1/K sum_k w_k] from log q and log w of all S values, (S, B) each: (B,)."""
    support_size = len(log_prob)
    if support_size**num_samples > SET_BUDGET:
        raise ValueError(
            f"The exact K-sample bound sums over {support_size:,}^{num_samples} sets of samples, and {SET_BUDGET:,} are the "
            "limit: take fewer samples (num_samples), or look at the objective 'elbo'."
        )
    values = torch.arange(support_size, device=log_prob.device)
    sets = torch.cartesian_prod(*[values] * num_samples).view(-1, num_samples)
    bounds = log_weights[sets].logsumexp(1) - torch.tensor(float(num_samples), dtype=log_weights.dtype).log()
    return (log_prob[sets].sum(1).exp() * bounds).sum(0)
