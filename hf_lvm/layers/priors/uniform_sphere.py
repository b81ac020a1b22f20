"""The uniform prior on the unit sphere."""

from typing import ClassVar

import torch
from torch import nn

from hf_lvm.distributions import HypersphericalUniform


class UniformSpherePrior(nn.Module):
    """p(z) the same for every direction of R^D, with nothing to learn: the prior of a von Mises-Fisher posterior.

    Raises:
        ValueError: a latent of one dimension.
    """

    latent_space: ClassVar[str] = "sphere"
    config_options: ClassVar[dict[str, str]] = {}
    needs_encoder: ClassVar[bool] = False
    needs_condition: ClassVar[bool] = False

    def __init__(self, latent_size: int):
        super().__init__()
        if latent_size < 2:
            raise ValueError(f"The prior 'uniform_sphere' needs a latent_size of at least 2, but it is {latent_size}.")
        self.latent_size = latent_size

    def forward(
        self, batch_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> HypersphericalUniform:
        """The prior of a batch: a distribution over (B, D)."""
        return HypersphericalUniform(batch_size, self.latent_size, device=device, dtype=dtype)
