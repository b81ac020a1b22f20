"""The k most probable trees: CKY with the k best ways to build each span."""

from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.descent import descend, parts_of, spans_of
from hf_lvm.distributions.binary_tree.inside_outside import of_whole
from hf_lvm.distributions.binary_tree.labels import with_labels
from hf_lvm.distributions.binary_tree.layout import (
    as_left,
    as_right,
    left_parts,
    pack,
    packed_index,
    right_parts,
    widths_of,
)


class BestTrees(NamedTuple):
    """The K best trees of B rows, best first.

    Attributes:
        spans: (K, B, n, n), or (K, B, n, n, L) for labelled spans, bool. All False where a row has fewer than K possible
            trees.
        scores: (K, B), sums of scores, as `BinaryTreeCRF.score` gives them, with their gradient; -inf where there is no tree.
            Less `log_partition` they are log probabilities.
    """

    spans: torch.Tensor
    scores: torch.Tensor


class BestChoices(NamedTuple):
    """How the K best trees of every span are built. P spans in packed order, B rows.

    Attributes:
        splits: (P, K, B), the width of the left part.
        left_ranks, right_ranks: (P, K, B), which of their best trees the two parts have, from 0.
        label_ranks: (P, K, B), which of its best labels the span has, from 0.
        exists: (K, B), whether the whole sentence has that many trees.
    """

    splits: torch.Tensor
    left_ranks: torch.Tensor
    right_ranks: torch.Tensor
    label_ranks: torch.Tensor
    exists: torch.Tensor


@torch.no_grad()
def best_trees(scores: torch.Tensor, lengths: torch.Tensor | None, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` trees of the highest scores, best first, and whether each exists.

    Args:
        scores: (B, n, n), or (B, n, n, L) for labelled spans.
        lengths: (B,); None where all are n.

    Returns:
        Masks (count, B, n, n), or (count, B, n, n, L), all False where the second, (count, B), is False: the row has fewer
        trees than `count`.
    """
    batch, length = scores.shape[:2]
    by_rank, labels = scores.unsqueeze(-1), None
    if scores.dim() == 4:
        by_rank, labels = scores.topk(min(count, scores.shape[-1]), dim=-1)
    packed = torch.stack([pack(each, lengths) for each in by_rank.unbind(-1)], dim=1)
    choices = _best_choices(packed, length, lengths, count)

    of_trees = None if lengths is None else lengths.repeat(count)
    trees = torch.arange(count * batch, device=scores.device)
    rows = trees % batch
    whole = torch.full_like(trees, length - 1) if of_trees is None else of_trees - 1
    index = packed_index(length, scores.device).flatten()
    # Of each tree, the rank of every span that is in it, by cell.
    ranks = trees.new_zeros(length * length, len(trees)).scatter_(0, whole.unsqueeze(0), (trees // batch).unsqueeze(0))

    def look_up(_: int, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        cell = start * length + end
        rank = ranks.gather(0, cell)
        place = (index[cell] * count + rank) * batch + rows
        split = start + choices.splits.take(place)
        for (part_start, part_end), of_parts in zip(
            parts_of(start, end, split), (choices.left_ranks, choices.right_ranks), strict=True
        ):
            # A span of width 1 is its own part, and keeps its rank.
            part_rank = torch.where(start < end, of_parts.take(place), rank)
            ranks.scatter_(0, part_start * length + part_end, part_rank)
        return split

    spans = spans_of(descend(whole, length, look_up), of_trees) & choices.exists.view(-1, 1, 1)
    spans = spans.view(count, batch, length, length)
    if labels is None:
        return spans, choices.exists
    label_rank = choices.label_ranks.take((index.unsqueeze(1) * count + ranks) * batch + rows)
    label_rank = label_rank.view(length, length, count, batch).permute(2, 3, 0, 1)
    label = labels.expand(count, *labels.shape).gather(-1, label_rank.unsqueeze(-1)).squeeze(-1)
    return with_labels(spans, label, scores.shape[-1]), choices.exists


def _best_choices(packed: torch.Tensor, length: int, lengths: torch.Tensor | None, count: int) -> BestChoices:
    """The `count` best trees of every span from those of narrower ones (Huang and Chiang 2005, algorithm 1).

    For 1 it is CKY (Younger 1967). Both parts of a span, and a tree of its parts and a label of its own, can only be among the
    best together if the product of their ranks, from 1, is at most `count`.

    Args:
        packed: (P, labels, B), the scores of the best labels of each span, in descending order.
    """
    spans, num_labels, batch = packed.shape
    part_pairs, label_pairs = _rank_pairs(count, count, packed), _rank_pairs(count, num_labels, packed)
    chart = packed.new_full((length, length + 1, count * batch), -torch.inf)
    best = [torch.zeros(spans, count, batch, dtype=torch.long, device=packed.device) for _ in range(4)]
    by_width = zip(widths_of(packed, length), *(widths_of(each, length) for each in best), strict=True)
    for width, (own, splits, left_ranks, right_ranks, label_ranks) in enumerate(by_width):
        if width > 0:
            built, split, left_rank, right_rank = _best_splits(chart, width, count, part_pairs)
        else:
            # A word is built in one way.
            built = packed.new_full((length, count, batch), -torch.inf)
            built[:, 0] = 0.0
            split = left_rank = right_rank = torch.zeros_like(splits)
        if num_labels == 1:
            highest = built + own
        else:
            candidates = built.index_select(1, label_pairs[0]) + own.index_select(1, label_pairs[1])
            highest, choice = candidates.topk(count, dim=1)
            built_rank = label_pairs[0][choice]
            split, left_rank, right_rank = (each.gather(1, built_rank) for each in (split, left_rank, right_rank))
            label_ranks.copy_(label_pairs[1][choice])
        for table, found in ((splits, split), (left_ranks, left_rank), (right_ranks, right_rank)):
            table.copy_(found)
        for half in (as_left, as_right):
            half(chart, width).copy_(highest.flatten(1))
    exists = of_whole(chart, None if lengths is None else lengths.repeat(count)) > -torch.inf
    return BestChoices(*best, exists.view(count, batch))


def _best_splits(
    chart: torch.Tensor, width: int, count: int, part_pairs: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The scores of the best ways to build the spans of a width, their splits, and the ranks of both parts: (n - w, K, B)."""
    left, right = left_parts(chart, width), right_parts(chart, width)
    if count == 1:
        built, split = (left + right).max(0)
        built, split = built.unsqueeze(1), split.unsqueeze(1)
        return built, split, torch.zeros_like(split), torch.zeros_like(split)
    left, right = (
        parts.unflatten(-1, (count, -1)).index_select(2, ranks) for parts, ranks in zip((left, right), part_pairs, strict=True)
    )
    # (split, start, pair, B) -> the candidates of a span in one dimension: (start, split and pair, B)
    built, choice = (left + right).transpose(0, 1).flatten(1, 2).topk(count, dim=1)
    pair = choice % len(part_pairs[0])
    return built, choice // len(part_pairs[0]), part_pairs[0][pair], part_pairs[1][pair]


def _rank_pairs(first: int, second: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs of ranks below `first` and `second` whose product, counted from 1, is at most `first`."""
    pairs = [(one, other) for one in range(first) for other in range(second) if (one + 1) * (other + 1) <= first]
    return torch.tensor(pairs).to(like.device, non_blocking=True).unbind(1)
