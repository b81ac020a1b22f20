"""Samples by inversion of the distribution function: one uniform number decides one category."""

import torch


def drawn_by_inversion(log_probs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """One of V categories for each row, (R,), from log-probabilities (R, V) and noise (R,) uniform on [0, 1), float64."""
    cumulative = log_probs.double().exp().cumsum(-1)
    chosen = torch.searchsorted(cumulative, noise.unsqueeze(1) * cumulative[:, -1:], right=True).squeeze(1)
    # The search runs past the last category only where log-probabilities are nan, which the sample's own log q then shows.
    return chosen.clamp(max=log_probs.shape[-1] - 1)
