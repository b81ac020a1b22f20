"""Exact samples of state sequences, drawn from the last position to the first.

The forward pass gives the distribution of the last state, and that of each state given the next (forward filtering,
backward sampling: Rabiner's forward variables, sampled as in Scott 2002). One uniform number decides one state.
"""

from collections.abc import Sequence

import torch

from hf_lvm.distributions.linear_chain.marginals import ForwardPass, transitions_into
from hf_lvm.distributions.noise import Generators, uniform_noise

# Of SplitMix64 (Steele, Lea and Flood 2014): the step of its counter and the two factors of its mixing function, as signed
# 64-bit integers.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIXING = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
LAST_SHIFT = 31


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


def noise_of_positions(
    sample_shape: Sequence[int],
    batch_size: int,
    length: int,
    generator: Generators = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Noise uniform on [0, 1), float64: (*sample_shape, batch_size, length). A longer length only appends to it.

    A generator asked for n numbers a row would give a row other numbers, and the next draw too, when a longer sentence pads
    the batch. So it is asked for one number a row and sample, from which SplitMix64 makes that of each position.

    Args:
        generator: None, one generator, or a list of `batch_size` generators (see `hf_lvm.distributions.noise`).
    """
    seed = uniform_noise(sample_shape, batch_size, (), generator=generator, device=device, dtype=torch.float64)
    start = _mixed((seed * 2**53).long()).unsqueeze(-1)
    bits = _mixed(start + GOLDEN_GAMMA * torch.arange(1, length + 1, device=start.device))
    return _shifted(bits, 11).double() * 2.0**-53


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    for shift, factor in MIXING:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, LAST_SHIFT)


def _shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """To the right, with zeros coming in from the left as in an unsigned integer."""
    return (bits >> places) & (2 ** (64 - places) - 1)
