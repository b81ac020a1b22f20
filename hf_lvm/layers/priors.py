"""Priors: p(z)."""

import torch
from torch import nn

from hf_lvm.distributions import DiagonalGaussian, standard_normal


class StandardNormalPrior(nn.Module):
    """p(z) = N(0, I), with nothing to learn."""

    def __init__(self, latent_size: int):
        super().__init__()
        self.latent_size = latent_size

    def forward(
        self, batch_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> DiagonalGaussian:
        """The prior of a batch: a distribution over (B, D)."""
        return standard_normal(batch_size, self.latent_size, device=device, dtype=dtype)


PRIORS = {"standard_normal": StandardNormalPrior}


def check_prior_type(name: str) -> None:
    """Raise a `ValueError` that lists the priors there are when `name` is none of them."""
    if name not in PRIORS:
        raise ValueError(f"Unknown prior_type {name!r}: choose one of {', '.join(map(repr, PRIORS))}.")
