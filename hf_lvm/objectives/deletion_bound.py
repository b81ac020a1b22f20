"""The exact bound of a latent that is a deletion, where prior and likelihood are sums over consecutive kept words.

With log p(c) and log p(x|c) given pair by pair, all that a bound is made of is a sum over masks that
`hf_lvm.distributions.CanonicalDeletion` takes exactly: no sample, no variance.
"""

import torch

from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.logarithms import expectation
from hf_lvm.objectives.discrete_bound import BoundTerms


def deletion_bound(
    objective: str,
    posterior: CanonicalDeletion,
    log_likelihood: torch.Tensor,
    log_prior: torch.Tensor,
    *,
    log_length: torch.Tensor | None = None,
    kl_weight: float = 1.0,
) -> BoundTerms:
    """The terms of `elbo` under q, or of `marginal`, which has no q.

    Args:
        objective: `elbo` or `marginal`.
        posterior: q(c|x); of `marginal` its words, lengths and count alone are used.
        log_likelihood: (B, n + 1, n + 1), log p(words between | pair), nats; -inf where it cannot be.
        log_prior: (B, n + 1, n + 1), log p(to | from).
        log_length: (n + 1,), what log p(c) has beside the sum over pairs, by the number of words of c; for `elbo`.
        kl_weight: w. The loss of `marginal` is then the least that E_q[-log p(x|c)] + w KL can be for any q, which is
            -w log sum over c of p(c) p(x|c)^(1/w).

    Returns:
        Of `marginal`, `reconstruction` and `kl` are those of the exact posterior, and sum to -log p(x).

    Raises:
        ValueError: there is no objective of that name, a negative weight, or `marginal` with weight 0 or with `log_length`.
    """
    if kl_weight < 0:
        raise ValueError(f"kl_weight must be 0 or more, but is {kl_weight}.")
    if objective == "elbo":
        reconstruction = -posterior.expected(log_likelihood)
        kl = -posterior.entropy() - posterior.expected(log_prior)
        if log_length is not None:
            kl = kl - expected_of_counts(posterior, log_length)
        return BoundTerms(reconstruction + kl_weight * kl, reconstruction.detach(), kl.detach())
    if objective != "marginal":
        raise ValueError(f"Unknown objective {objective!r}: choose one of 'elbo', 'marginal'.")
    if log_length is not None:
        raise ValueError("The exact posterior is given pair by pair, and log_length is no sum over pairs: choose 'elbo'.")
    if kl_weight == 0:
        raise ValueError("The marginal likelihood needs a kl_weight above 0: begin its schedule above 0 (kl_start).")
    loss = -kl_weight * exact_posterior(posterior, log_likelihood / kl_weight, log_prior).log_partition
    with torch.no_grad():
        exact = exact_posterior(posterior, log_likelihood, log_prior)
        kl = -exact.entropy() - exact.expected(log_prior)
        return BoundTerms(loss, -exact.log_partition - kl, kl)


def expected_of_counts(posterior: CanonicalDeletion, values: torch.Tensor) -> torch.Tensor:
    """E_q[values of the number of kept words], values (n + 1,): (B,), differentiable in both; O(n^3) a row.

    -inf where q allows a number whose value is -inf.
    """
    probabilities = posterior.count_log_probs.exp()
    return expectation(probabilities, values.to(probabilities.dtype).expand_as(probabilities))


def exact_posterior(posterior: CanonicalDeletion, log_likelihood: torch.Tensor, log_prior: torch.Tensor) -> CanonicalDeletion:
    """p(c|x), over the words, lengths and count of `posterior`, with log p(x) as its `log_partition`; see `deletion_bound`."""
    return CanonicalDeletion(
        log_likelihood + log_prior, posterior.words, posterior.lengths, posterior.allow_empty, posterior.count
    )
