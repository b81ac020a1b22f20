"""Linear maps that stay in float32 when the rest does not: a parameter of a density rounded to 8 bits is a biased bound."""

import torch
from torch import nn
from torch.nn import functional


def linear_at_least_float32(layer: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """`layer(hidden)` in float32, or in the dtype of the weight if that is wider; under autocast too."""
    dtype = torch.promote_types(layer.weight.dtype, torch.float32)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        return functional.linear(hidden.to(dtype), layer.weight.to(dtype), bias)
