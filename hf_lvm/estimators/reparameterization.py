"""Reparameterization: the gradient goes through the sample itself (Kingma and Welling 2014; Rezende et al. 2014).

z = mean + stddev * noise, with noise that does not depend on the parameters, so the gradient of an expectation over z is
the expectation of a gradient, and one sample estimates it without bias.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators


def draw_reparameterized(posterior: Distribution, num_samples: int, generator: Generators = None) -> torch.Tensor:
    """Differentiable latents (num_samples, B, *event shape) from a posterior with an `rsample` of its own.

    Raises:
        ValueError: the posterior has no reparameterized sample.
    """
    if not posterior.has_rsample:
        raise ValueError(
            f"{type(posterior).__name__} has no reparameterized sample: choose an estimator for discrete latents."
        )
    return posterior.rsample((num_samples,), generator=generator)
