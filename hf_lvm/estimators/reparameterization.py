"""Reparameterization: the gradient goes through the sample itself (Kingma and Welling 2014; Rezende et al. 2014).

z = mean + stddev * noise, with noise that does not depend on the parameters, so the gradient of an expectation over z is
the expectation of a gradient, and one sample estimates it without bias.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators


class Reparameterization:
    """Plain reparameterization, and the three things every estimator with differentiable samples does.

    A model goes through the same steps whichever estimator it has:

    ```python
    samples = estimator.draw(posterior, num_samples, generator)
    log_posterior = estimator.density(posterior).log_prob(samples)
    log_weights = log_importance_weights(log_likelihood, log_prior, log_posterior, kl_weight=kl_weight)
    loss = negative_iwae(estimator.surrogate(log_weights, samples, kl_weight=kl_weight))
    ```

    An ELBO needs the first of them only.
    """

    def draw(self, posterior: Distribution, num_samples: int, generator: Generators = None) -> torch.Tensor:
        """Differentiable latents (num_samples, B, *event shape) from a posterior with an `rsample` of its own.

        Raises:
            ValueError: the posterior has no reparameterized sample.
        """
        if not posterior.has_rsample:
            raise ValueError(
                f"{type(posterior).__name__} has no reparameterized sample: choose an estimator for discrete latents."
            )
        return posterior.rsample((num_samples,), generator=generator)

    def density(self, posterior: Distribution) -> Distribution:
        """The distribution to take log q(z|x) of the samples under: the posterior, with the gradient the estimator wants."""
        return posterior

    def surrogate(self, log_weights: torch.Tensor, samples: torch.Tensor, *, kl_weight: float = 1.0) -> torch.Tensor:
        """Log weights (K, B) of the same value, out of which the objective's gradient becomes the estimator's."""
        return log_weights
