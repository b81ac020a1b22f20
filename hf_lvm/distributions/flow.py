"""A normalizing flow: standard normal noise pushed through invertible layers, with an exact density."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch.distributions import Distribution, constraints

from hf_lvm.distributions.gaussian import standard_normal
from hf_lvm.distributions.noise import Generators


class InvertibleLayer(Protocol):
    """A bijection of R^D, applied to the last dimension."""

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., D)."""

    def inverse(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(..., D) -> the inputs (..., D) that give `outputs`, and log |d inputs / d outputs| (...)."""


class NormalizingFlow(Distribution):
    """z = layer_n(... layer_1(noise)), noise ~ N(0, I): batch (B,), event (D,).

    The density is that of the noise times the Jacobian determinant of the inverse (Rezende and Mohamed 2015, equation 5),
    exact and not a bound. Its mean and variance have no closed form; asking for them raises a `NotImplementedError`.

    Args:
        layers: in the order in which they are applied to the noise; the same for all rows.
        batch_size: B.
        latent_size: D.
    """

    arg_constraints = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        layers: Sequence[InvertibleLayer],
        batch_size: int,
        latent_size: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.layers = layers
        self.noise = standard_normal(batch_size, latent_size, device=device, dtype=dtype)
        super().__init__(self.noise.batch_shape, self.noise.event_shape, validate_args=False)

    @property
    def mean(self) -> torch.Tensor:
        raise NotImplementedError("The mean of a normalizing flow has no closed form: average samples of it.")

    @property
    def variance(self) -> torch.Tensor:
        raise NotImplementedError("The variance of a normalizing flow has no closed form: take that of samples of it.")

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of latents (..., B, D): (..., B), nats."""
        log_determinant = torch.zeros_like(value[..., 0])
        for layer in reversed(self.layers):
            value, change = layer.inverse(value)
            log_determinant = log_determinant + change
        return self.noise.log_prob(value) + log_determinant

    def rsample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """(*sample_shape, B, D), differentiable in the weights of the layers.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        value = self.noise.rsample(sample_shape, generator)
        for layer in self.layers:
            value = layer(value)
        return value

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Like `rsample`, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)
