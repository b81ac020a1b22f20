"""Logarithms of numbers that may be 0, and the means of such logarithms."""

import torch


def finite(logarithm: torch.Tensor) -> torch.Tensor:
    """With 0 in place of -inf: subtracted where everything is -inf, it leaves -inf where -inf would leave nan."""
    return logarithm.masked_fill(logarithm == -torch.inf, 0.0)
