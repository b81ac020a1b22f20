"""Importance-weighted estimates of log p(x), and the K-sample bound as a training loss (Burda et al. 2016, equation 8).

log p(x) >= E[log 1/K sum_k w_k], w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x). One sample gives the ELBO; the bound
rises with K and converges to log p(x).
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LikelihoodEstimate:
    """An estimate of log p(x) for each of B sentences, in nats.

    Attributes:
        log_likelihood: (B,). In the mean a lower bound of log p(x); exact where `exact` is true.
        standard_error: (B,), of `log_likelihood`, by the delta method; 0 where `exact` is true.
        effective_sample_size: (B,), (sum w)^2 / sum w^2, between 1 and the number of samples.
        exact: whether log p(x) was summed exactly.
        log_weights: (K, B) in float64, where they were asked for.
    """

    log_likelihood: torch.Tensor
    standard_error: torch.Tensor
    effective_sample_size: torch.Tensor
    exact: bool = False
    log_weights: torch.Tensor | None = None

    @classmethod
    def exactly(cls, log_likelihood: torch.Tensor) -> "LikelihoodEstimate":
        """The estimate without error from log p(x), (B,), that was summed over all latents."""
        return cls(
            log_likelihood=log_likelihood,
            standard_error=torch.zeros_like(log_likelihood),
            effective_sample_size=torch.full_like(log_likelihood, math.inf),
            exact=True,
        )

    @property
    def low_sample_size(self) -> torch.Tensor:
        """(B,) bool: fewer than 10 samples carry the estimate, so it may lie well below log p(x)."""
        if self.exact:
            return torch.zeros_like(self.effective_sample_size, dtype=torch.bool)
        return self.effective_sample_size < 10


def log_importance_weights(
    log_likelihood: torch.Tensor, log_prior: torch.Tensor, log_posterior: torch.Tensor, *, kl_weight: float = 1.0
) -> torch.Tensor:
    """log w = log p(x|z) + kl_weight (log p(z) - log q(z|x)), in nats, of samples z ~ q(z|x).

    Args:
        log_likelihood: (K, B), log p(x|z_k).
        log_prior: (K, B), log p(z_k).
        log_posterior: (K, B), log q(z_k|x).
        kl_weight: 1 for the importance weights themselves. Otherwise those of the bound with a weighted KL: one sample
            gives, in the mean, the ELBO whose KL term has this weight. Then the mean weight no longer estimates p(x).

    Returns:
        (K, B), in float32 or better.
    """
    dtype = torch.promote_types(log_likelihood.dtype, torch.float32)
    return log_likelihood.to(dtype) + kl_weight * (log_prior - log_posterior)


def importance_weighted_bound(log_weights: torch.Tensor) -> torch.Tensor:
    """log 1/K sum_k w_k from log w of shape (K, B): (B,)."""
    return torch.logsumexp(log_weights, dim=0) - math.log(log_weights.shape[0])


def negative_iwae(log_weights: torch.Tensor) -> torch.Tensor:
    """The training loss: the negative K-sample bound, nats per sentence, averaged over the batch.

    Its gradient weighs that of each log w_k by the normalised weight w_k / sum_j w_j. Under the estimator `dreg` pass the
    log weights through `estimator.surrogate` first.

    Args:
        log_weights: (K, B), of `log_importance_weights`.

    Raises:
        ValueError: another shape.
    """
    if log_weights.dim() != 2:
        raise ValueError(f"log_weights has shape {tuple(log_weights.shape)}; the K-sample bound takes (K, B).")
    return -importance_weighted_bound(log_weights).mean()


def estimate_from_log_weights(log_weights: torch.Tensor, keep_log_weights: bool = False) -> LikelihoodEstimate:
    """The bound, its standard error and the effective sample size from log w of shape (K, B), kept on request.

    The standard error of log(mean w) is that of mean w divided by mean w; it is infinite for K = 1.
    """
    log_weights = log_weights.double()
    num_samples = log_weights.shape[0]
    # Weights relative to the largest one: the ratios below do not depend on the scale.
    weights = (log_weights - log_weights.amax(0)).exp()
    mean = weights.mean(0)
    if num_samples > 1:
        standard_error = weights.var(0, unbiased=True).div(num_samples).sqrt() / mean
    else:
        standard_error = torch.full_like(mean, math.inf)
    return LikelihoodEstimate(
        log_likelihood=importance_weighted_bound(log_weights),
        standard_error=standard_error,
        effective_sample_size=weights.sum(0).square() / weights.square().sum(0),
        log_weights=log_weights if keep_log_weights else None,
    )
