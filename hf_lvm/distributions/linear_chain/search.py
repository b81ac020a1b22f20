"""The most probable state sequences of a chain: the Viterbi algorithm, and its extension to the k best."""

import torch

from hf_lvm.distributions.linear_chain.marginals import transitions_into
from hf_lvm.distributions.logarithms import finite


@torch.no_grad()
def best_paths(
    transitions: torch.Tensor, unary: torch.Tensor, inside: torch.Tensor | None, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` sequences of the highest scores, best first, and whether each exists.

    Every state keeps the `count` best ways to reach it (Schwartz and Chow 1990), which for 1 is Viterbi (1967).

    Args:
        transitions: (B, n-1, C, C), or (C, C) for all rows and positions, as [from, to].
        unary: (B, n, C).
        inside: (B, n), whether a position lies within the length of its row; None where all do.

    Returns:
        (count, B, n), 0 past the length, and (count, B). A row with fewer sequences than `count` has all-zero ones at the end,
        for which the second is False.
    """
    batch, length, states = unary.shape
    # By state, then by rank; flattened, an entry is called its slot.
    scores = unary.new_full((batch, states, count), -torch.inf)
    scores[:, :, 0] = unary[:, 0]
    slots, origins = torch.arange(states * count, device=unary.device), []
    for t in range(1, length):
        candidates = scores.unsqueeze(-1) + transitions_into(transitions, t).unsqueeze(-2)
        arrived, origin = _highest(candidates.flatten(1, 2), count)
        arrived, origin = arrived.transpose(1, 2) + unary[:, t].unsqueeze(-1), origin.transpose(1, 2).flatten(1)
        arrived = arrived - finite(arrived.amax((1, 2), keepdim=True))
        if inside is not None:
            arrived = torch.where(inside[:, t, None, None], arrived, scores)
            origin = torch.where(inside[:, t, None], origin, slots)
        scores = arrived
        origins.append(origin)
    highest, slot = _highest(scores.flatten(1), count)
    exists = highest > -torch.inf
    path = [slot // count]
    for origin in reversed(origins):
        slot = origin.gather(1, slot)
        path.append(slot // count)
    paths = torch.stack(path[::-1], dim=-1).masked_fill(~exists.unsqueeze(-1), 0)
    if inside is not None:
        paths = paths.masked_fill(~inside.unsqueeze(1), 0)
    return paths.transpose(0, 1), exists.transpose(0, 1)


def _highest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` highest over dimension 1, in descending order, and where they are."""
    return values.max(1, keepdim=True) if count == 1 else values.topk(count, dim=1)
