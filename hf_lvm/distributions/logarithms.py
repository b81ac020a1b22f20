"""Logarithms of numbers that may be 0, and the means of such logarithms."""

import torch


def finite(logarithm: torch.Tensor) -> torch.Tensor:
    """With 0 in place of -inf: subtracted where everything is -inf, it leaves -inf where -inf would leave nan."""
    return logarithm.masked_fill(logarithm == -torch.inf, 0.0)


def expectation(probabilities: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The sum of probability times value over the last dimension, (..., C) both: (...).

    Values are often logarithms of probabilities. What is impossible counts nothing even if its value is infinite: 0 * inf is 0
    here, in the value and in the gradient.
    """
    return (probabilities * values.masked_fill(probabilities == 0, 0.0)).sum(-1)
