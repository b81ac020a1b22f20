"""A learned mixture of Gaussians as the prior."""

import math
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import GaussianMixture


class GaussianMixturePrior(nn.Module):
    """p(z) = sum_c weight_c N(z; mean_c, diag(stddev_c^2)), all of it learned.

    KL(q(z|x) || p(z)) has no closed form and is estimated from samples of q; such an estimate may be negative for a sentence.

    Args:
        latent_size: D.
        components: C, at least 1.

    Raises:
        ValueError: no component.
    """

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {"prior_components": "components"}
    needs_encoder: ClassVar[bool] = False
    needs_condition: ClassVar[bool] = False

    def __init__(self, latent_size: int, *, components: int = 10):
        super().__init__()
        check_components(components)
        self.mean = nn.Parameter(torch.zeros(components, latent_size))
        self.log_variance = nn.Parameter(torch.zeros(components, latent_size))
        self.logits = nn.Parameter(torch.zeros(components))
        self.init_weights()

    def forward(
        self, batch_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> GaussianMixture:
        """The prior of a batch: a distribution over (B, D)."""
        mean, log_variance, logits = (
            value.to(device, torch.promote_types(dtype, torch.float32))
            for value in (self.mean, self.log_variance, self.logits)
        )
        return GaussianMixture(logits, mean, torch.exp(0.5 * log_variance), batch_size)

    def init_weights(self) -> None:
        """Components apart from each other, with the second moment of N(0, I) together; a single one is N(0, I)."""
        apart = 0.5 * (1 - 1 / len(self.mean))
        init.normal_(self.mean, std=apart**0.5)
        init.constant_(self.log_variance, math.log(1 - apart))
        init.zeros_(self.logits)


def check_components(components: int) -> None:
    """Raise a `ValueError` for a mixture of nothing."""
    if components < 1:
        raise ValueError(f"prior_components must be at least 1, but is {components}.")
