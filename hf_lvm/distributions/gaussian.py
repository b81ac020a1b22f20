"""The diagonal Gaussian, with noise that can be drawn row by row and a KL divergence known dimension by dimension."""

from collections.abc import Sequence

import torch
from torch.distributions import Independent, Normal, kl_divergence

from hf_lvm.distributions.noise import Generators, normal_noise


class DiagonalGaussian(Independent):
    """A Gaussian vector with independent dimensions: batch shape (B,), event shape (D,).

    `rsample` is the reparameterization mean + stddev * noise (Kingma and Welling 2014, equation 10), so gradients reach
    both parameters.

    Args:
        mean: (B, D).
        stddev: (B, D), positive.
    """

    def __init__(self, mean: torch.Tensor, stddev: torch.Tensor, validate_args: bool | None = False):
        super().__init__(Normal(mean, stddev, validate_args=validate_args), 1, validate_args=validate_args)

    @property
    def mode(self) -> torch.Tensor:
        """The mean: (B, D)."""
        return self.mean

    def rsample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Differentiable samples of shape (*sample_shape, B, D).

        Args:
            generator: None, one generator, or a list of B generators (see `normal_noise`).
        """
        mean, stddev = self.mean, self.stddev
        noise = normal_noise(
            sample_shape, mean.shape[0], mean.shape[1:], generator=generator, device=mean.device, dtype=mean.dtype
        )
        return mean + stddev * noise

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Like `rsample`, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def kl_per_dimension(self, prior: "DiagonalGaussian") -> torch.Tensor:
        """KL(self || prior) of each dimension, nats: (B, D). Their sum is `kl_divergence(self, prior)`."""
        return kl_divergence(self.base_dist, prior.base_dist)

    def detached(self) -> "DiagonalGaussian":
        """The same distribution, with no gradient to its parameters."""
        return DiagonalGaussian(self.mean.detach(), self.stddev.detach())

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "DiagonalGaussian":
        shape = torch.Size(batch_shape) + self.event_shape
        return DiagonalGaussian(self.mean.expand(shape), self.stddev.expand(shape))


def standard_normal(
    batch_size: int, latent_size: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DiagonalGaussian:
    """N(0, I) for each of `batch_size` rows."""
    shape = (batch_size, latent_size)
    return DiagonalGaussian(
        torch.zeros(1, device=device, dtype=dtype).expand(shape), torch.ones(1, device=device, dtype=dtype).expand(shape)
    )
