"""KL(q(z|x) || p(z)): in closed form where there is one, from samples where there is none."""

from dataclasses import dataclass

import torch
from torch.distributions import Distribution, kl_divergence

from hf_lvm.distributions import CategoricalVector, DiagonalGaussian, HypersphericalUniform, VonMisesFisher

ON_THE_SPHERE = (VonMisesFisher, HypersphericalUniform)
BY_DIMENSION = (DiagonalGaussian, CategoricalVector)


@dataclass(frozen=True)
class KLTerms:
    """The KL divergence of B sentences, in nats.

    Attributes:
        kl: (B,). Where `monte_carlo` is true it is an unbiased estimate, and may be negative for a sentence though the
            divergence itself never is.
        per_dimension: (B, D), its parts; None where it does not fall apart into dimensions.
        monte_carlo: whether it is estimated from samples.
    """

    kl: torch.Tensor
    per_dimension: torch.Tensor | None
    monte_carlo: bool


def kl_terms(posterior: Distribution, prior: Distribution, samples: torch.Tensor | None = None) -> KLTerms:
    """KL(posterior || prior) of each sentence.

    Two diagonal Gaussians, and two vectors of categories, have a closed form for each dimension. Other pairs have the closed
    form that is registered with `torch.distributions.kl_divergence`, as von Mises-Fisher and the uniform sphere. For the
    rest, a learned prior beside a Gaussian posterior, it is the mean over samples of log q(z|x) - log p(z): unbiased, with a
    gradient through samples and densities alike that is unbiased too, and possibly negative for a sentence or, with few
    samples, for a batch.

    Args:
        posterior: batch (B,), event (D,).
        prior: the same.
        samples: (K, B, D), from `posterior.rsample`. Used only where there is no closed form.

    Raises:
        ValueError: no closed form and no samples, or one of the two on the unit sphere and the other not.
    """
    closed_form = closed_form_kl(posterior, prior)
    if closed_form is not None:
        return closed_form
    if samples is None:
        raise ValueError(
            f"KL({type(posterior).__name__} || {type(prior).__name__}) has no closed form: pass samples of the posterior."
        )
    log_ratio = posterior.log_prob(samples) - prior.log_prob(samples)
    return KLTerms(log_ratio.mean(0), None, monte_carlo=True)


def closed_form_kl(posterior: Distribution, prior: Distribution) -> KLTerms | None:
    """KL(posterior || prior) where the pair has a closed form, or None; see `kl_terms`.

    Raises:
        ValueError: one of the two on the unit sphere and the other not.
    """
    if any(isinstance(posterior, family) and isinstance(prior, family) for family in BY_DIMENSION):
        per_dimension = posterior.kl_per_dimension(prior)
        return KLTerms(per_dimension.sum(-1), per_dimension, monte_carlo=False)
    if isinstance(posterior, ON_THE_SPHERE) != isinstance(prior, ON_THE_SPHERE):
        raise ValueError(
            f"{type(posterior).__name__} and {type(prior).__name__} cannot be compared: one lives on the unit sphere and the "
            "other does not. A von Mises-Fisher posterior goes with the uniform sphere, and with nothing else."
        )
    try:
        return KLTerms(kl_divergence(posterior, prior), None, monte_carlo=False)
    except NotImplementedError:
        return None
