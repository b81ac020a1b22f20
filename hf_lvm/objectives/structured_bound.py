"""The bound of a latent whose prior cannot be told from its likelihood: a tree that is written together with the words.

p(x, z) is a product of steps, some of which draw words and some of which build the tree. Their sums are called log p(x|z) and
log p(z) as Kim et al. (2019, section 2.3) do, though each step sees what all steps before it did. q(z|x) has its entropy in
closed form, so it is a term of its own, and what the samples are scored by is log p(x, z) alone:

    E_q[log p(x|z) + w log p(z)]  +  w H[q]
"""

import torch

from hf_lvm.estimators import Draws
from hf_lvm.objectives.discrete_bound import BoundTerms
from hf_lvm.objectives.importance_weighting import importance_weighted_bound, log_importance_weights
from hf_lvm.objectives.minimum_risk import risk


def structured_bound(
    objective: str,
    draws: Draws,
    log_likelihood: torch.Tensor,
    log_prior: torch.Tensor,
    entropy: torch.Tensor | None,
    *,
    kl_weight: float = 1.0,
    risk_sharpness: float = 1.0,
) -> BoundTerms:
    """The terms of an objective from trees, or other structures, that were drawn and scored.

    Args:
        objective: `elbo`, `iwae` or `minimum_risk`.
        draws: of `draw_for`.
        log_likelihood: (R, B), log p(x|z) of `draws.latents`: all steps that draw words.
        log_prior: (R, B), log p(z): all other steps.
        entropy: (B,), H[q(z|x)], nats, with its gradient; None where it has no closed form, as of sequences: log q is then a
            part of what the samples are scored by.
        kl_weight: of log p(z) and the entropy, in the loss and in the learning signal alike.
        risk_sharpness: of `minimum_risk`.

    Returns:
        `kl` is E_q[-log p(z)] - H[q], the first part estimated from the samples: for a sentence it may be negative.

    Raises:
        ValueError: there is no objective of that name.
    """
    if objective == "elbo":
        # The entropy has an exact gradient; log q in a sampled score would only add to the variance.
        if entropy is None:
            loss = -draws.expectation(log_likelihood + kl_weight * (log_prior - draws.log_posterior))
        else:
            loss = -draws.expectation(log_likelihood + kl_weight * log_prior) - kl_weight * entropy
    elif objective in ("iwae", "minimum_risk"):
        log_weights = log_importance_weights(log_likelihood, log_prior, draws.log_posterior, kl_weight=kl_weight)
        if objective == "iwae":
            loss = -importance_weighted_bound(draws.surrogate(log_weights, kl_weight=kl_weight))
        else:
            loss = risk(draws, -log_weights, sharpness=risk_sharpness)
    else:
        raise ValueError(f"Unknown objective {objective!r}: choose one of 'elbo', 'iwae', 'minimum_risk'.")
    if entropy is None:
        kl = draws.mean((draws.log_posterior - log_prior).detach())
    else:
        kl = draws.mean(-log_prior.detach()) - entropy.detach()
    return BoundTerms(loss, draws.mean(-log_likelihood.detach()), kl)
