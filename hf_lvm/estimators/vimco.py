"""VIMCO: the K-sample bound of a discrete latent (Mnih and Rezende 2016, equations 8 and 11).

d E[L] = E[ sum_k (L - L_without_k) d log q(z_k|x)  +  sum_k v_k d log w_k ],   L = log 1/K sum_k w_k,

with v_k = w_k / sum_j w_j. L_without_k is the bound with w_k replaced by the geometric mean of the other weights, so each
sample is judged by what it adds, and its baseline does not contain it.
"""

import torch

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws, value_and_gradient


class Vimco(Estimator):
    """The estimator `vimco`."""

    name = "vimco"
    min_samples = 2

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """K samples of q(z|x): (K, B, *event shape)."""
        return VimcoDraws(posterior.sample((num_samples,), generator), posterior)


class VimcoDraws(Draws):
    """Samples whose log weights bring the gradient of q along."""

    def surrogate(self, log_weights: torch.Tensor, *, kl_weight: float = 1.0) -> torch.Tensor:
        # A constant added to all log weights of a row is added to its bound, and so is the constant's gradient.
        score_function = (what_each_adds(log_weights.detach()) * self.log_prob).sum(0)
        return value_and_gradient(log_weights, score_function.expand_as(log_weights))


def what_each_adds(log_weights: torch.Tensor) -> torch.Tensor:
    """L - L_without_k of log weights (K, B): (K, B)."""
    count = log_weights.shape[0]
    geometric_mean = (log_weights.sum(0) - log_weights) / (count - 1)
    own = torch.eye(count, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
    without = torch.where(own, geometric_mean.unsqueeze(0), log_weights.unsqueeze(0))  # (k, sample, B)
    return torch.logsumexp(log_weights, 0) - torch.logsumexp(without, 1)
