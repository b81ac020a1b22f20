"""The doubly reparameterized gradient of the K-sample bound (Tucker et al. 2019, equation 8).

The plain gradient of log 1/K sum_k w_k gets noisier relative to its size as K grows: its signal-to-noise ratio falls as
1 / sqrt(K) for the encoder (Rainforth et al. 2018), so a better bound trains a worse encoder. The cause is the term
d log q(z_k|x) / d phi at fixed z_k. Dropping it is biased for K > 1 (Roeder et al. 2017); reparameterizing it once more
turns it into a path through z_k and leaves, with the normalised weights v_k = w_k / sum_j w_j,

    d/d phi  =  E[ sum_k v_k^2  (d log w_k / d z_k)  (d z_k / d phi) ],

unbiased, with a ratio that grows as sqrt(K).

With a weighted KL, log w = log p(x|z) + beta (log p(z) - log q(z|x)), only beta of that term is there to be turned around,
and the same steps give the factor v_k (1 - beta + beta v_k) in place of v_k^2: unbiased for every beta, the published
estimator at 1, and plain reparameterization at 0, where the density of q is not in the objective.

Decoder and prior have their ordinary gradient, with weights v_k. So has a prior that shares parameters with the encoder
(a VampPrior): this estimator does not change what reaches them through log p(z) at fixed z.
"""

import torch

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws
from hf_lvm.estimators.reparameterization import differentiable_samples


class DoublyReparameterized(Estimator):
    """The estimator `dreg`, of the K-sample bound.

    It needs a posterior with a method `detached()`, which returns the same distribution with no gradient to its
    parameters.
    """

    name = "dreg"

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """Differentiable latents (num_samples, B, *event shape), and their density under parameters held fixed.

        Raises:
            ValueError: the posterior has no reparameterized sample, or no method `detached`.
        """
        latents = differentiable_samples(posterior, num_samples, generator)
        if not callable(getattr(posterior, "detached", None)):
            raise ValueError(
                f"The estimator 'dreg' takes log q(z|x) with the parameters of q held fixed, and {type(posterior).__name__} "
                "has no method detached() that returns it so: choose the estimator 'reparameterization', or give it one."
            )
        return DoublyReparameterizedDraws(latents, posterior.detached())


class DoublyReparameterizedDraws(Draws):
    """Samples through which the gradient of the bound is weighted once more."""

    def surrogate(self, log_weights: torch.Tensor, *, kl_weight: float = 1.0) -> torch.Tensor:
        """The log weights as they are; from here on, gradients that arrive at `latents` are weighted once more.

        Everything that is differentiated through the latents after this call gets the factor, so let nothing but the bound
        depend on them.

        Raises:
            ValueError: the shapes do not fit.
        """
        latents = self.latents
        if latents.shape[:2] != log_weights.shape:
            raise ValueError(
                f"log_weights has shape {tuple(log_weights.shape)} and the latents {tuple(latents.shape)}: there is one "
                "weight (K, B) a latent (K, B, ...)."
            )
        if latents.requires_grad:
            normalised = log_weights.detach().softmax(dim=0)
            factor = (1.0 - kl_weight) + kl_weight * normalised
            factor = factor.view(*factor.shape, *[1] * (latents.dim() - 2))
            latents.register_hook(lambda gradient: gradient * factor.to(gradient.dtype))
        return log_weights
