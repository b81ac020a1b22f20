"""A normalizing flow as the prior: affine coupling layers (Dinh et al. 2017, RealNVP, equations 4 to 8)."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.distributions import NormalizingFlow
from hf_lvm.layers.precision import linear_at_least_float32

# Largest log of the factor by which one layer scales a dimension: enough to move far in a few layers, and no overflow.
LARGEST_LOG_SCALE = 2.0


class FlowPrior(nn.Module):
    """p(z): standard normal noise through learned invertible layers, with an exact density; N(0, I) when new.

    KL(q(z|x) || p(z)) has no closed form and is estimated from samples of q; such an estimate may be negative for a sentence.

    Args:
        latent_size: D, at least 2: one part of the dimensions says how the other is moved.
        layers: at least 1; two move every dimension.

    Raises:
        ValueError: a latent of one dimension, or no layer.
    """

    latent_space: ClassVar[str] = "vectors"
    config_options: ClassVar[dict[str, str]] = {"prior_flow_layers": "layers"}
    needs_encoder: ClassVar[bool] = False
    needs_condition: ClassVar[bool] = False

    def __init__(self, latent_size: int, *, layers: int = 4):
        super().__init__()
        if latent_size < 2:
            raise ValueError(f"The prior 'flow' needs a latent_size of at least 2, but it is {latent_size}.")
        if layers < 1:
            raise ValueError(f"prior_flow_layers must be at least 1, but is {layers}.")
        self.latent_size = latent_size
        self.layers = nn.ModuleList(AffineCoupling(latent_size, index) for index in range(layers))
        self.init_weights()

    def forward(
        self, batch_size: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> NormalizingFlow:
        """The prior of a batch: a distribution over (B, D)."""
        dtype = torch.promote_types(dtype, torch.float32)
        return NormalizingFlow(self.layers, batch_size, self.latent_size, device=device, dtype=dtype)

    def init_weights(self) -> None:
        """Every layer the identity, so that the prior starts as N(0, I)."""
        for layer in self.layers:
            init.normal_(layer.hidden.weight, std=layer.hidden.in_features**-0.5)
            init.zeros_(layer.hidden.bias)
            init.zeros_(layer.change.weight)
            init.zeros_(layer.change.bias)


class AffineCoupling(nn.Module):
    """Some dimensions pass unchanged and decide by what the others are multiplied and shifted.

    Args:
        size: D.
        index: of the layer. Four layers pass, in turn, the even dimensions, the odd ones, the first half and the second, so
            that every dimension comes to depend on every other.
    """

    def __init__(self, size: int, index: int):
        super().__init__()
        half = size // 2
        pair = (slice(0, None, 2), slice(1, None, 2)) if index % 4 < 2 else (slice(0, half), slice(half, None))
        self.passing, self.moved = pair if index % 2 == 0 else pair[::-1]
        passing, moved = (len(range(size)[part]) for part in (self.passing, self.moved))
        self.hidden = nn.Linear(passing, max(64, 2 * size))
        self.change = nn.Linear(self.hidden.out_features, 2 * moved)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., D)."""
        log_scale, shift = self._change(inputs)
        return self._with_moved(inputs, inputs[..., self.moved] * log_scale.exp() + shift)

    def inverse(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(..., D) -> the inputs (..., D) and log |d inputs / d outputs| (...)."""
        log_scale, shift = self._change(outputs)
        moved = (outputs[..., self.moved] - shift) * torch.exp(-log_scale)
        return self._with_moved(outputs, moved), -log_scale.sum(-1)

    def _change(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = functional.silu(linear_at_least_float32(self.hidden, values[..., self.passing]))
        log_scale, shift = linear_at_least_float32(self.change, hidden).to(values.dtype).chunk(2, dim=-1)
        return LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE), shift

    def _with_moved(self, values: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        result = values.clone()
        result[..., self.moved] = moved
        return result
