"""The most probable canonical masks: the best ways to go on from each node, and the k best of them."""

import torch


@torch.no_grad()
def best_masks(
    weights: torch.Tensor, layers: int | None, layer: torch.Tensor | None, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` masks of the highest scores, best first, and whether each exists.

    Every node keeps the `count` best ways to go on from it, each as the next column and the rank of the way from there.

    Args:
        weights: (B, S+1, S+1), see `hf_lvm.distributions.deletion.sums`.
        layers: R, None where any number of words may be kept.
        layer: (B,), how many words to keep; None for any number.

    Returns:
        (count, B, S) and (count, B). A row with fewer masks than `count` has empty ones at the end, for which the second is
        False.
    """
    batch, nodes, _ = weights.shape
    arrived = weights.new_full((batch, layers or 1, nodes, count), -torch.inf)
    arrived[:, 0, -1, 0] = 0.0
    # Column and rank together are a slot: column * count + rank.
    slots = torch.empty(batch, layers or 1, nodes, count, dtype=torch.long, device=weights.device)
    for i in range(nodes - 1, -1, -1):
        ways = (weights[:, None, i, i:, None] + arrived[:, :, i:]).flatten(2)
        best, slot = ways.max(-1, keepdim=True) if count == 1 else ways.topk(count)
        slots[:, :, i] = slot + i * count
        if i > 0 and layers is None:
            arrived[:, :, i - 1] = best
        elif i > 0:
            arrived[:, 1:, i - 1] = best[:, :-1]
    rows = torch.arange(batch, device=weights.device).unsqueeze(-1)
    rank = torch.arange(count, device=weights.device).expand(batch, -1)
    node = torch.zeros_like(rank)
    to_keep = node if layer is None else node + layer.unsqueeze(-1)
    exists = best[rows, to_keep, rank] > -torch.inf
    masks = []
    for position in range(nodes - 1):
        slot = slots[rows, to_keep, node, rank]
        kept = (slot // count == position) & exists
        masks.append(kept)
        node, rank = node.masked_fill(kept, position + 1), torch.where(kept, slot % count, rank)
        if layer is not None:
            to_keep = to_keep - kept.long()
    return torch.stack(masks, dim=-1).transpose(0, 1), exists.transpose(0, 1)
