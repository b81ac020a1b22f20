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
(a VampPrior): what reaches them through log p(z) at fixed z is no matter of this estimator.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.estimators.reparameterization import Reparameterization


class DoublyReparameterized(Reparameterization):
    """The estimator `dreg`: used like every other, see [`Reparameterization`].

    It needs a posterior with a method `detached()`, which returns the same distribution with no gradient to its
    parameters.
    """

    def density(self, posterior: Distribution) -> Distribution:
        """The posterior with its parameters held fixed: log q(z|x) has a gradient through z only.

        Raises:
            ValueError: the posterior has no method `detached`.
        """
        if not callable(getattr(posterior, "detached", None)):
            raise ValueError(
                f"The estimator 'dreg' takes log q(z|x) with the parameters of q held fixed, and {type(posterior).__name__} "
                "has no method detached() that returns it so: choose the estimator 'reparameterization', or give it one."
            )
        return posterior.detached()

    def surrogate(self, log_weights: torch.Tensor, samples: torch.Tensor, *, kl_weight: float = 1.0) -> torch.Tensor:
        """The log weights as they are; from here on, gradients that arrive at `samples` are weighted once more.

        Args:
            log_weights: (K, B), computed from `samples` and `density`.
            samples: (K, B, *event shape), of `draw`. Everything that is differentiated through them after this call gets the
                factor, so let nothing but the bound depend on them.
            kl_weight: the beta that `log_weights` were computed with.

        Raises:
            ValueError: the shapes do not fit.
        """
        if samples.shape[:2] != log_weights.shape:
            raise ValueError(
                f"log_weights has shape {tuple(log_weights.shape)} and samples {tuple(samples.shape)}: there is one weight "
                "(K, B) a sample (K, B, ...)."
            )
        if samples.requires_grad:
            normalised = log_weights.detach().softmax(dim=0)
            factor = (1.0 - kl_weight) + kl_weight * normalised
            factor = factor.view(*factor.shape, *[1] * (samples.dim() - 2))
            samples.register_hook(lambda gradient: gradient * factor.to(gradient.dtype))
        return log_weights
