"""A Gaussian prior that depends on a text: that of a conditional VAE."""

from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.precision import linear_at_least_float32


class ConditionalGaussianPrior(nn.Module):
    """p(z|c) = N(mean(c), diag(stddev(c)^2)), two linear maps of the pooled encoding of a text c; N(0, I) when new.

    The prior network of a conditional VAE (Sohn et al. 2015; of dialogs, Zhao et al. 2017). The KL divergence of a Gaussian
    q(z|x, c) from it is in closed form, for each dimension. Their decoders read c beside z; with this prior alone p(x|z) does
    not, and all that is said of c goes through z.

    Args:
        latent_size: D.
        hidden_size: H, size of the pooled encoding.
    """

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {}
    needs_encoder: ClassVar[bool] = False
    needs_condition: ClassVar[bool] = True

    def __init__(self, latent_size: int, *, hidden_size: int):
        super().__init__()
        self.mean = nn.Linear(hidden_size, latent_size)
        self.log_variance = nn.Linear(hidden_size, latent_size)
        self.init_weights()

    def forward(
        self,
        batch_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        condition: torch.Tensor,
    ) -> DiagonalGaussian:
        """The prior of a batch whose conditions have encodings (B, H): a distribution over (B, D)."""
        mean = linear_at_least_float32(self.mean, condition)
        return DiagonalGaussian(mean, torch.exp(0.5 * linear_at_least_float32(self.log_variance, condition)))

    def init_weights(self) -> None:
        """N(0, I), whatever the text."""
        for layer in (self.mean, self.log_variance):
            init.zeros_(layer.weight)
            init.zeros_(layer.bias)
