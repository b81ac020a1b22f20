"""Exact samples of state sequences, drawn from the last position to the first.

The forward pass gives the distribution of the last state, and that of each state given the next (forward filtering,
backward sampling: Rabiner's forward variables, sampled as in Scott 2002). One uniform number decides one state.
"""

import torch

from hf_lvm.distributions.linear_chain.marginals import ForwardPass, transitions_into


@torch.no_grad()
def sample_paths(
    transitions: torch.Tensor, forward: ForwardPass, inside: torch.Tensor | None, noise: torch.Tensor
) -> torch.Tensor:
    """State sequences (K, B, n), 0 past the length, from `noise` (K, B, n) uniform on [0, 1).

    `transitions` is (B, n-1, C, C) or (C, C) as [from, to], `inside` (B, n) or None where no row is padded.
    """
    filtered = forward.filtered
    count, batch, length = noise.shape
    rows = torch.arange(batch, device=filtered.device)
    state = _draw(filtered[:, -1].expand(count, -1, -1), noise[..., -1])
    path = [state]
    for t in range(length - 1, 0, -1):
        scores = transitions_into(transitions, t).transpose(-1, -2)
        scores = scores[state] if scores.dim() == 2 else scores[rows, state]
        if inside is not None:
            scores = scores.masked_fill(~inside[:, t, None], 0.0)
        state = _draw(filtered[:, t - 1] + scores, noise[..., t - 1])
        path.append(state)
    paths = torch.stack(path[::-1], dim=-1)
    return paths if inside is None else paths.masked_fill(~inside, 0)


def _draw(log_weights: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The state at `place` (...,) in [0, 1) of the distribution function of log weights (..., C)."""
    cumulative = (log_weights - log_weights.amax(-1, keepdim=True)).double().exp().cumsum(-1)
    total = cumulative[..., -1:]
    # Rounding may carry the product to the total itself, which lies behind the last state of positive weight.
    threshold = torch.minimum(place.double().unsqueeze(-1) * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulative <= threshold).sum(-1).clamp(max=log_weights.shape[-1] - 1)
