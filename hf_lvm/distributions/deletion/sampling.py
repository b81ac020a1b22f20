"""Exact samples of canonical masks, drawn from the first word to the last.

The probability of each next kept word is known, and with it that of a word to be the next if none before it was: one uniform
number decides whether a word is kept.
"""

from collections.abc import Sequence

import torch

from hf_lvm.distributions.noise import Generators, noise_of_cells


@torch.no_grad()
def sample_masks(step_log_probs: list[torch.Tensor], layer: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
    """Masks (K, B, S) from `noise` (K, B, S) uniform on [0, 1); all False for a row without a mask.

    Args:
        step_log_probs: (B, S+1, S+1) for each layer, see `hf_lvm.distributions.deletion.sums`.
        layer: (B,), how many words to keep; None for any number.
    """
    hazards = torch.stack([_hazards(each.exp()) for each in step_log_probs])
    count, batch, length = noise.shape
    rows = torch.arange(batch, device=noise.device)
    node = torch.zeros(count, batch, dtype=torch.long, device=noise.device)
    to_keep = node if layer is None else node + layer
    masks = []
    for position in range(length):
        kept = noise[..., position] < hazards[to_keep, rows, node, position]
        masks.append(kept)
        node = node.masked_fill(kept, position + 1)
        if layer is not None:
            to_keep = to_keep - kept.long()
    return torch.stack(masks, dim=-1)


def _hazards(steps: torch.Tensor) -> torch.Tensor:
    """p(next is j | next is j or later), of probabilities (..., S+1): (..., S+1)."""
    # Summed from the end, so that the quotient at the last possible column is exactly 1.
    remaining = steps.flip(-1).cumsum(-1).flip(-1)
    return steps / remaining.masked_fill(remaining == 0, 1.0)


def noise_of_pairs(
    sample_shape: Sequence[int], batch_size: int, length: int, generator: Generators, device: torch.device
) -> torch.Tensor:
    """Noise uniform on [0, 1), float64, of each pair, which no padding changes: (*sample_shape, B, S+1, S+1).

    What it holds below the diagonal means nothing.
    """
    cells = noise_of_cells(sample_shape, batch_size, length + 2, generator, device)
    # Below the diagonal there are no pairs of words, so that those to the end have a place there that does not move.
    to_end = cells.diagonal(offset=-1, dim1=-2, dim2=-1).unsqueeze(-1)
    return torch.cat([cells[..., :-1, :length], to_end], dim=-1)
