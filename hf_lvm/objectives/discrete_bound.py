"""One bound of a discrete latent, whichever objective and estimator: from scored draws to the loss of each row.

```python
draws = draw_for(objective, estimator, posterior, num_samples, generator)
log_likelihood = ...  # log p(x|z) of draws.latents, (R, B)
terms = discrete_bound(objective, draws, log_likelihood, prior)
terms.loss.mean().backward()
```
"""

from dataclasses import dataclass

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators import Draws, Estimator
from hf_lvm.objectives.divergence import closed_form_kl
from hf_lvm.objectives.free_bits import free_bits_kl
from hf_lvm.objectives.importance_weighting import importance_weighted_bound, log_importance_weights
from hf_lvm.objectives.marginal import marginal_terms
from hf_lvm.objectives.minimum_risk import draw_candidates, risk


@dataclass(frozen=True)
class BoundTerms:
    """The bound of B sentences and its parts, in nats per sentence.

    Attributes:
        loss: (B,), what is minimised; its mean over rows is the loss of a batch. Its value is the (weighted) negative bound,
            its gradient the estimator's.
        reconstruction: (B,), -log p(x|z), the mean over draws; under `marginal` over the exact posterior.
        kl: (B,), unweighted; under `marginal` that of the exact posterior, so that the two sum to -log p(x).
        kl_per_dimension: (B, M) where there is one.
    """

    loss: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor
    kl_per_dimension: torch.Tensor | None = None


def draw_for(
    objective: str,
    estimator: Estimator | None,
    posterior: Distribution,
    num_samples: int,
    generator: Generators = None,
    *,
    features: torch.Tensor | None = None,
    temperature: float | None = None,
    reference: torch.Tensor | None = None,
) -> Draws:
    """What the likelihood is to be computed for under an objective; see `Estimator.draw`.

    Args:
        estimator: None for `minimum_risk`, which is its own.
        reference: (B, *event shape), a candidate of `minimum_risk` beside its samples.
    """
    if objective == "minimum_risk":
        return draw_candidates(posterior, num_samples, generator, reference)
    return estimator.draw(posterior, num_samples, generator, features=features, temperature=temperature)


def discrete_bound(
    objective: str,
    draws: Draws,
    log_likelihood: torch.Tensor,
    prior: Distribution,
    *,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    free_bits_mode: str = "none",
    risk_sharpness: float = 1.0,
) -> BoundTerms:
    """The terms of an objective from what was drawn and scored.

    Under `elbo` the KL divergence is the closed form where q and p have one; otherwise log p(z) - log q(z|x) is a part of the
    score, and of the learning signal with it.

    Args:
        objective: `elbo`, `marginal`, `iwae` or `minimum_risk`.
        draws: of `draw_for`.
        log_likelihood: (R, B), log p(x|z) of `draws.latents`.
        prior: p(z), batch shape (B,) or one that broadcasts to it.
        kl_weight: of the KL term, in the loss and in the learning signal alike.
        free_bits, free_bits_mode: KL that costs nothing in the loss of `elbo`, see `hf_lvm.objectives.free_bits`.
        risk_sharpness: of `minimum_risk`.

    Raises:
        ValueError: there is no objective of that name, or free bits without a KL divergence in closed form.
    """
    if objective == "elbo":
        return _elbo(draws, log_likelihood, prior, kl_weight, free_bits, free_bits_mode)
    if objective == "marginal":
        log_prior = prior.log_prob(draws.latents)
        terms = marginal_terms(log_likelihood, log_prior, kl_weight=kl_weight)
        return BoundTerms(terms.loss, terms.reconstruction, terms.kl)
    if objective not in ("iwae", "minimum_risk"):
        raise ValueError(f"Unknown objective {objective!r}: choose one of 'elbo', 'marginal', 'iwae', 'minimum_risk'.")
    log_prior = prior.log_prob(draws.latents)
    log_weights = log_importance_weights(log_likelihood, log_prior, draws.log_posterior, kl_weight=kl_weight)
    if objective == "iwae":
        loss = -importance_weighted_bound(draws.surrogate(log_weights, kl_weight=kl_weight))
    else:
        loss = risk(draws, -log_weights, sharpness=risk_sharpness)
    with torch.no_grad():
        kl, kl_per_dimension = _divergence(draws, prior, log_prior)
    return BoundTerms(loss, draws.mean(-log_likelihood.detach()), kl, kl_per_dimension)


def _elbo(
    draws: Draws,
    log_likelihood: torch.Tensor,
    prior: Distribution,
    kl_weight: float,
    free_bits: float,
    free_bits_mode: str,
) -> BoundTerms:
    divergence = closed_form_kl(draws.posterior, prior)
    if divergence is None:
        if free_bits_mode != "none":
            raise ValueError(
                f"free_bits_mode {free_bits_mode!r} holds up a KL term, and that of {type(draws.posterior).__name__} is "
                "a part of what the samples are scored by: set free_bits to 0."
            )
        log_posterior = draws.log_posterior
        log_ratio = prior.log_prob(draws.latents) - log_posterior
        loss = -draws.expectation(log_likelihood + kl_weight * log_ratio)
        return BoundTerms(loss, draws.mean(-log_likelihood.detach()), draws.mean(-log_ratio.detach()))
    held_up = free_bits_kl(divergence.per_dimension, free_bits, free_bits_mode, kl=divergence.kl)
    loss = kl_weight * held_up - draws.expectation(log_likelihood)
    return BoundTerms(loss, draws.mean(-log_likelihood.detach()), divergence.kl, divergence.per_dimension)


def _divergence(draws: Draws, prior: Distribution, log_prior: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    divergence = closed_form_kl(draws.posterior, prior)
    if divergence is None:
        return draws.mean(draws.log_posterior - log_prior), None
    return divergence.kl, divergence.per_dimension
