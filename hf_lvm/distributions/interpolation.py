"""Paths between two latent vectors."""

import torch

INTERPOLATION_PATHS = ("linear", "spherical")


def interpolate_latents(start: torch.Tensor, end: torch.Tensor, steps: int, path: str = "linear") -> torch.Tensor:
    """`steps` points from `start` to `end`, both included: (steps, ..., D).

    Args:
        start: (..., D).
        end: (..., D).
        steps: at least 2.
        path: "linear", the straight line; or "spherical", along the great circle between the two directions while the
            length changes evenly (Shoemake 1985; White 2016). A straight line between two draws of a Gaussian in many
            dimensions passes near the origin, where the prior has next to no mass; a great circle does not. Where the
            two directions are the same or opposite the great circle is not defined, and the line is taken.

    Raises:
        ValueError: unknown path, fewer than 2 steps, or shapes that differ.
    """
    if path not in INTERPOLATION_PATHS:
        raise ValueError(f"Unknown path {path!r}: choose one of {', '.join(map(repr, INTERPOLATION_PATHS))}.")
    if steps < 2:
        raise ValueError(f"An interpolation has at least its 2 ends, but steps={steps}.")
    if start.shape != end.shape:
        raise ValueError(f"The two ends differ in shape: {tuple(start.shape)} and {tuple(end.shape)}.")
    share = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)
    share = share.view(-1, *[1] * start.dim())
    line = start + share * (end - start)
    if path == "linear":
        return line
    lengths = start.norm(dim=-1, keepdim=True), end.norm(dim=-1, keepdim=True)
    directions = start / lengths[0].clamp(min=1e-12), end / lengths[1].clamp(min=1e-12)
    angle = torch.acos((directions[0] * directions[1]).sum(-1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    arc = torch.sin((1 - share) * angle) * directions[0] + torch.sin(share * angle) * directions[1]
    length = lengths[0] + share * (lengths[1] - lengths[0])
    return torch.where(sine < 1e-4, line, length * arc / sine.clamp(min=1e-12))
