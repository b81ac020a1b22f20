"""The marginal likelihood of a latent that can be summed over: log p(x) = log sum over z of p(z) p(x|z)."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class MarginalTerms:
    """The exact marginal likelihood of B sentences and its two parts, in nats.

    Attributes:
        loss: (B,), what is minimised: -log p(x) at weight 1.
        reconstruction: (B,), E[-log p(x|z)] under the exact posterior p(z|x).
        kl: (B,), KL(p(z|x) || p(z)). The two sum to -log p(x).
        log_posterior: (S, B), log p(z|x).
    """

    loss: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor
    log_posterior: torch.Tensor


# A KL weight below this is 0: log p(x|z) divided by it could overflow, and the loss differs by no more than rounding.
NO_WEIGHT = 1e-30


def marginal_terms(log_likelihood: torch.Tensor, log_prior: torch.Tensor, *, kl_weight: float = 1.0) -> MarginalTerms:
    """-log p(x) from all S values of z, and what it is made of.

    A KL weight b other than 1 weighs the second part as it does in an ELBO: the loss is then the least that E_q[-log p(x|z)]
    + b KL(q || p(z)) can be for any q, which is -b log sum over z of p(z) p(x|z)^(1/b), and at b = 0 the loss of the best z.

    Args:
        log_likelihood: (S, B), log p(x|z) of every z.
        log_prior: (S, B), log p(z).
        kl_weight: b, 0 or more.

    Raises:
        ValueError: a negative weight.
    """
    if kl_weight < 0:
        raise ValueError(f"kl_weight must be 0 or more, but is {kl_weight}.")
    dtype = torch.promote_types(log_likelihood.dtype, torch.float32)
    log_likelihood, log_prior = log_likelihood.to(dtype), log_prior.to(dtype)
    if kl_weight < NO_WEIGHT:
        possible = torch.where(log_prior > -torch.inf, log_likelihood, -torch.inf)
        loss = -possible.amax(0)
    else:
        loss = -kl_weight * torch.logsumexp(log_prior + log_likelihood / kl_weight, 0)
    with torch.no_grad():
        log_joint = log_prior + log_likelihood
        log_marginal = torch.logsumexp(log_joint, 0)
        log_posterior = log_joint - log_marginal
        posterior = log_posterior.exp()
        # A value that cannot be counts zero, whatever its log-likelihood.
        reconstruction = -(posterior * log_likelihood.masked_fill(posterior == 0, 0.0)).sum(0)
    return MarginalTerms(loss, reconstruction, -log_marginal - reconstruction, log_posterior)
