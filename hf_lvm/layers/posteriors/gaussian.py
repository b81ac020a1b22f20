"""The diagonal Gaussian posterior."""

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.precision import linear_at_least_float32


class GaussianPosterior(nn.Module):
    """q(z|x) = N(mean(x), diag(stddev(x)^2)), two linear maps of the pooled encoding (Kingma and Welling 2014, appendix C).

    Computed in float32 or better even under autocast: a standard deviation rounded to 8 bits is a biased bound.

    Args:
        hidden_size: size of the pooled encoding.
        latent_size: D.
        initial_stddev: standard deviation of q at initialisation. Below 1 the first samples already tell sentences
            apart, at the price of a KL term that starts higher.
        largest_stddev: no standard deviation reaches it, for runs whose KL weight begins near 0, when nothing else holds
            them: the variance is the sigmoid of its logit times this one's square. None for no bound.

    Raises:
        ValueError: an initial standard deviation that is not below the largest one.
    """

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {}

    def __init__(
        self, hidden_size: int, latent_size: int, *, initial_stddev: float = 1.0, largest_stddev: float | None = None
    ):
        super().__init__()
        if largest_stddev is not None and not initial_stddev < largest_stddev:
            raise ValueError(f"initial_stddev must be below largest_stddev, {largest_stddev}, but is {initial_stddev}.")
        self.initial_stddev, self.largest_stddev = initial_stddev, largest_stddev
        self.mean = nn.Linear(hidden_size, latent_size)
        self.log_variance = nn.Linear(hidden_size, latent_size)

    def forward(self, pooled: torch.Tensor) -> DiagonalGaussian:
        """pooled (B, H) -> a distribution over (B, D)."""
        mean = linear_at_least_float32(self.mean, pooled)
        log_variance = linear_at_least_float32(self.log_variance, pooled)
        if self.largest_stddev is not None:
            log_variance = functional.logsigmoid(log_variance) + 2 * math.log(self.largest_stddev)
        return DiagonalGaussian(mean, torch.exp(0.5 * log_variance))

    def init_weights(self) -> None:
        """Means as wide as the encoding itself, one standard deviation for all sentences."""
        init.normal_(self.mean.weight, std=self.mean.in_features**-0.5)
        if self.mean.bias is not None:
            init.zeros_(self.mean.bias)
        init.normal_(self.log_variance.weight, std=0.02 * self.mean.in_features**-0.5)
        if self.largest_stddev is None:
            init.constant_(self.log_variance.bias, 2 * math.log(self.initial_stddev))
        else:
            share = (self.initial_stddev / self.largest_stddev) ** 2
            init.constant_(self.log_variance.bias, math.log(share) - math.log1p(-share))
