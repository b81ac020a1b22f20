"""The standard normal prior."""

from typing import ClassVar

import torch
from torch import nn

from hf_lvm.distributions import DiagonalGaussian, standard_normal


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I), with nothing to learn."""

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {}
    needs_encoder: ClassVar[bool] = False
    needs_condition: ClassVar[bool] = False

    def __init__(self, latent_size: int):
        super().__init__()
        self.latent_size = latent_size

    def forward(
        self, batch_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> DiagonalGaussian:
        """The prior of a batch: a distribution over (B, D)."""
        return standard_normal(batch_size, self.latent_size, device=device, dtype=dtype)
