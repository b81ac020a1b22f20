"""Reparameterization: the gradient goes through the sample itself (Kingma and Welling 2014; Rezende et al. 2014).

z = mean + stddev * noise, with noise that does not depend on the parameters, so the gradient of an expectation over z is
the expectation of a gradient, and one sample estimates it without bias.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws


class Reparameterization(Estimator):
    """The estimator `reparameterization`, of the ELBO and of the K-sample bound."""

    name = "reparameterization"

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """Differentiable latents (num_samples, B, *event shape) from a posterior with an `rsample` of its own.

        Raises:
            ValueError: the posterior has no reparameterized sample.
        """
        return Draws(differentiable_samples(posterior, num_samples, generator), posterior)


def differentiable_samples(posterior: Distribution, num_samples: int, generator: Generators) -> torch.Tensor:
    """(num_samples, B, *event shape); a `ValueError` where the posterior has none."""
    if not posterior.has_rsample:
        raise ValueError(
            f"{type(posterior).__name__} has no reparameterized sample: choose an estimator for discrete latents."
        )
    return posterior.rsample((num_samples,), generator=generator)
