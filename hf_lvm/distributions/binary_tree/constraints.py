"""Spans that must or must not be in a tree, what crosses them, and whether a mask is a tree."""

import torch


def within(lengths: torch.Tensor | None, length: int, device: torch.device) -> torch.Tensor:
    """The cells i..j with i <= j within the length of a row: (B, n, n), or (1, n, n) where all lengths are n."""
    positions = torch.arange(length, device=device)
    upper = positions.unsqueeze(1) <= positions
    if lengths is None:
        return upper.unsqueeze(0)
    return upper & (positions < lengths.unsqueeze(1)).unsqueeze(1)


def constrained_scores(
    scores: torch.Tensor, cells: torch.Tensor, required: torch.Tensor | None, forbidden: torch.Tensor | None
) -> torch.Tensor:
    """Scores (B, n, n) or (B, n, n, L) with -inf for all that a tree with the required and without the forbidden spans lacks.

    Args:
        cells: the spans within the lengths, as of `within`.
        required, forbidden: masks that go with the scores, or None.
    """
    labelled = scores.dim() == 4
    if labelled:
        cells = cells.unsqueeze(-1)
    if required is not None:
        required = required & cells
        if labelled:
            needed = required.any(-1)
            scores = scores.masked_fill((needed.unsqueeze(-1) & ~required) | crossing(needed).unsqueeze(-1), -torch.inf)
        else:
            scores = scores.masked_fill(crossing(required), -torch.inf)
    if forbidden is not None:
        scores = scores.masked_fill(forbidden & cells, -torch.inf)
    return scores


def crossing(spans: torch.Tensor) -> torch.Tensor:
    """Which spans a..b cross one of a set of spans: overlap it, and neither is inside the other.

    A binary tree that has no span crossing i..j has i..j itself: it has as many spans as fit without crossing.

    Args:
        spans: masks (..., n, n), False below the diagonal.

    Returns:
        (..., n, n); what it holds below the diagonal means nothing.
    """
    # Some i..j with a < i <= b < j: count those that end after b by their start, and take starts a+1..b.
    ends_later = spans.long().flip(-1).cumsum(-1).flip(-1) - spans.long()
    by_start = ends_later.cumsum(-2)
    up_to_end = by_start.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
    over_the_end = up_to_end - by_start
    # Some i..j with i < a <= j < b: the same seen from the other side.
    starts_earlier = spans.long().cumsum(-2) - spans.long()
    by_end = starts_earlier.cumsum(-1) - starts_earlier
    up_to_start = by_end.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    over_the_start = by_end - up_to_start
    return (over_the_end > 0) | (over_the_start > 0)


def are_trees(spans: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Whether masks (..., B, n, n), False past the lengths, are binary trees: (..., B).

    A tree has 2 length - 1 spans, the whole sentence among them, and each of two words or more has two parts among them. That
    is enough: a tree can be read off from the top, and it already has as many spans.
    """
    length = spans.shape[-1]
    # float32 counts exactly up to 2^24, and the number of splits of a span is less than n.
    with torch.autocast(spans.device.type, enabled=False):
        left = spans.float()
        right = torch.nn.functional.pad(left[..., 1:, :], (0, 0, 0, 1))
        splits = left @ right
    wide = torch.ones(length, length, dtype=torch.bool, device=spans.device).triu(1)
    every_span_splits = (~(spans & wide) | (splits > 0)).flatten(-2).all(-1)
    last = spans.new_full(spans.shape[-3:-2], length - 1, dtype=torch.long) if lengths is None else lengths - 1
    has_whole = spans[..., 0, :].gather(-1, last.expand(spans.shape[:-2]).unsqueeze(-1)).squeeze(-1)
    return every_span_splits & has_whole & (spans.flatten(-2).sum(-1) == 2 * last + 1)
