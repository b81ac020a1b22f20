"""Which posterior goes with which prior, and what the error says when they do not."""

from hf_lvm.layers.posteriors import POSTERIORS, check_posterior_type
from hf_lvm.layers.priors import PRIORS, check_prior_type


def check_posterior_prior(posterior_type: str, prior_type: str) -> None:
    """Raise a `ValueError` for a posterior or prior that does not exist, or a pair that makes no sense.

    A posterior and its prior live in one space: the KL divergence between a distribution on the sphere and one over all
    vectors is infinite. The `delta` posterior promises its rate against N(0, I) and no other prior. Beside the `vamp` prior a
    `batch_norm` posterior would normalise the pseudo-inputs by statistics of their own, not by those of the sentences.
    """
    check_posterior_type(posterior_type)
    check_prior_type(prior_type)
    space = POSTERIORS[posterior_type].latent_space
    if PRIORS[prior_type].latent_space != space:
        beside = ", ".join(repr(name) for name, prior in PRIORS.items() if prior.latent_space == space)
        instead = ", ".join(
            repr(name) for name, head in POSTERIORS.items() if head.latent_space == PRIORS[prior_type].latent_space
        )
        raise ValueError(
            f"posterior_type {posterior_type!r} and prior_type {prior_type!r} live in different spaces, one of them on the "
            f"unit sphere: beside {posterior_type!r} set prior_type to one of {beside}, or beside {prior_type!r} set "
            f"posterior_type to one of {instead}."
        )
    if posterior_type == "delta" and prior_type != "standard_normal":
        raise ValueError(
            f"posterior_type 'delta' commits to its rate against prior_type 'standard_normal' only, but prior_type is "
            f"{prior_type!r}: set prior_type='standard_normal', or posterior_type='gaussian'."
        )
    if posterior_type == "batch_norm" and prior_type == "vamp":
        raise ValueError(
            "posterior_type 'batch_norm' does not go with prior_type 'vamp', whose pseudo-inputs it would normalise "
            "apart from the sentences: set posterior_type='gaussian', or prior_type='gaussian_mixture'."
        )
