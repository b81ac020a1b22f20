"""The von Mises-Fisher posterior: a direction for each sentence, and how sure it is."""

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.distributions import VonMisesFisher
from hf_lvm.layers.precision import linear_at_least_float32


class VonMisesFisherPosterior(nn.Module):
    """q(z|x) on the unit sphere, around a direction that is a linear map of the pooled encoding.

    With a fixed concentration the KL divergence from the uniform sphere is a constant, which no training can bring down (Xu
    and Durrett 2018, section 3.2); a predicted one lets each sentence choose (Davidson et al. 2018), and may collapse.

    Args:
        hidden_size: size of the pooled encoding.
        latent_size: D, at least 2.
        initial_stddev: sets the concentration of a new model where it is predicted: D / initial_stddev^2, at which q is
            N(sqrt(D) * direction, initial_stddev^2 I) held to the sphere of radius sqrt(D), then scaled to radius 1.
        concentration: one number for all sentences; None to predict it.

    Raises:
        ValueError: a latent of one dimension, or a concentration that is not positive.
    """

    latent_space: ClassVar[str] = "sphere"
    config_options: ClassVar[dict[str, str]] = {"posterior_concentration": "concentration"}

    def __init__(
        self,
        hidden_size: int,
        latent_size: int,
        *,
        initial_stddev: float = 1.0,
        concentration: float | None = None,
    ):
        super().__init__()
        if latent_size < 2:
            raise ValueError(f"A von Mises-Fisher posterior needs a latent_size of at least 2, but it is {latent_size}.")
        if concentration is not None and not 0 < concentration < math.inf:
            raise ValueError(
                f"posterior_concentration must be a positive number, or None to predict it, but is {concentration}."
            )
        self.fixed_concentration = concentration
        self.initial_concentration = latent_size / initial_stddev**2
        self.mean_direction = nn.Linear(hidden_size, latent_size)
        self.concentration = nn.Linear(hidden_size, 1) if concentration is None else None

    def forward(self, pooled: torch.Tensor) -> VonMisesFisher:
        """pooled (B, H) -> a distribution over (B, D)."""
        direction = linear_at_least_float32(self.mean_direction, pooled)
        if self.concentration is None:
            return VonMisesFisher(direction, direction.new_full(direction.shape[:1], self.fixed_concentration))
        # In units of the initial concentration, which softplus(0) = log 2 stands for.
        relative = functional.softplus(linear_at_least_float32(self.concentration, pooled).squeeze(-1)) / math.log(2)
        return VonMisesFisher(direction, self.initial_concentration * relative)

    def init_weights(self) -> None:
        """Directions of the encoding itself, one concentration for all sentences."""
        init.normal_(self.mean_direction.weight, std=self.mean_direction.in_features**-0.5)
        init.zeros_(self.mean_direction.bias)
        if self.concentration is not None:
            init.normal_(self.concentration.weight, std=0.02 * self.mean_direction.in_features**-0.5)
            init.zeros_(self.concentration.bias)
