"""The k most probable trees: CKY with the k best ways to build each span."""

import torch

from hf_lvm.distributions.binary_tree.descent import descend, spans_of
from hf_lvm.distributions.binary_tree.inside_outside import of_whole
from hf_lvm.distributions.binary_tree.layout import (
    as_left,
    as_right,
    left_parts,
    pack,
    packed_index,
    right_parts,
    widths_of,
)


@torch.no_grad()
def best_trees(scores: torch.Tensor, lengths: torch.Tensor | None, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` trees of the highest scores, best first, and whether each exists.

    Every span keeps its `count` best trees (Huang and Chiang 2005, algorithm 1), which for 1 is CKY (Younger 1967). The r-th
    best left part and the s-th best right part can only be among them if r * s <= count, ranks from 1.

    Args:
        scores: (B, n, n).
        lengths: (B,); None where all are n.

    Returns:
        Masks (count, B, n, n), all False where the second, (count, B), is False: the row has fewer trees than `count`.
    """
    batch, length, _ = scores.shape
    pairs = [(left, right) for left in range(count) for right in range(count) if (left + 1) * (right + 1) <= count]
    left_rank, right_rank = torch.tensor(pairs, device=scores.device).unbind(1)
    packed = pack(scores, lengths)
    chart = packed.new_full((length, length + 1, count, batch), -torch.inf)
    choices = torch.zeros(*packed.shape[:1], count, batch, dtype=torch.long, device=packed.device)
    own, chosen = widths_of(packed, length), widths_of(choices, length)
    as_left(chart, 0)[:, 0], as_right(chart, 0)[:, 0] = own[0], own[0]
    for width in range(1, length):
        left, right = left_parts(chart, width), right_parts(chart, width)
        if count == 1:
            highest, choice = (left + right).max(0)
        else:
            left, right = left.index_select(2, left_rank), right.index_select(2, right_rank)
            # (split, start, pair, B) -> the candidates of a span in one dimension: (split and pair, start, B)
            candidates = (left + right).transpose(1, 2).flatten(0, 1)
            highest, choice = candidates.topk(min(count, len(candidates)), dim=0)
            highest, choice = highest.transpose(0, 1), choice.transpose(0, 1)
        found = highest.shape[1]
        highest = highest + own[width].unsqueeze(1)
        as_left(chart, width)[:, :found], as_right(chart, width)[:, :found] = highest, highest
        chosen[width][:, :found] = choice
    of_trees = None if lengths is None else lengths.repeat(count)
    exists = of_whole(chart.flatten(2), of_trees) > -torch.inf
    ranks = torch.arange(count, device=scores.device).repeat_interleave(batch)
    whole = torch.full_like(ranks, length - 1) if of_trees is None else of_trees - 1
    rows = torch.arange(batch, device=scores.device).repeat(count)
    index, choices = packed_index(length, scores.device).flatten(), choices.flatten()

    def look_up(step: int, start: torch.Tensor, end: torch.Tensor, rank: torch.Tensor) -> tuple[torch.Tensor, ...]:
        span = index[start * length + end]
        choice = choices[(span * count + rank) * batch + rows]
        split, pair = choice // len(pairs), choice % len(pairs)
        return start + split, left_rank[pair], right_rank[pair]

    spans = spans_of(descend(whole, length, look_up, ranks), of_trees) & exists.view(-1, 1, 1)
    return spans.view(count, batch, length, length), exists.view(count, batch)
