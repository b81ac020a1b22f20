"""What the scores, lengths, values and constraints of a tree must be, said clearly where they are not."""

import torch

from hf_lvm.distributions.binary_tree.constraints import are_trees, crossing, within


def check_shape(scores: torch.Tensor, labelled: bool = False) -> None:
    """Raise a `ValueError` unless `scores` is (B, n, n), or (B, n, n, L) for labelled spans."""
    wanted = "(B, n, n, L)" if labelled else "(B, n, n)"
    if scores.dim() != (4 if labelled else 3) or scores.shape[1] != scores.shape[2] or 0 in scores.shape:
        raise ValueError(
            f"Got scores {tuple(scores.shape)}: {wanted} are needed, a score for each span i..j at [row, i, j], and none of "
            "these may be 0."
        )
    if not scores.is_floating_point():
        raise ValueError(f"Got scores of type {scores.dtype}: floating point is needed.")


def check_lengths(lengths: torch.Tensor, batch: int, length: int, look: bool) -> None:
    """Raise a `ValueError` unless `lengths` is (B,) integers, from 1 to n if there is leave to `look` at them."""
    if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)} and type {lengths.dtype}: one integer a row is needed, ({batch},)."
        )
    if look and ((lengths < 1) | (lengths > length)).any():
        raise ValueError(f"The lengths {lengths.tolist()} are not all from 1 to {length}, the number of positions.")


def check_scores(scores: torch.Tensor, lengths: torch.Tensor | None, log_partition: torch.Tensor) -> None:
    """Raise a `ValueError` unless scores (B, n, n) within the lengths are numbers or -inf, and every row has a tree."""
    wrong = (scores.isnan() | (scores == torch.inf)) & within(lengths, scores.shape[-1], scores.device)
    rows = wrong.flatten(1).any(1)
    if rows.any():
        row, start, end = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"scores holds nan or +inf in row(s) {_listed(rows)}, first for the span {start}..{end} of row {row}: a score is "
            "a number, or -inf for what is forbidden."
        )
    if (log_partition == -torch.inf).any():
        raise ValueError(
            f"No tree is possible in row(s) {_listed(log_partition == -torch.inf)}: every one has a span with a score of "
            "-inf. Forbid fewer spans."
        )


def check_masks(spans: torch.Tensor, batch: int, length: int, name: str) -> None:
    """Raise a `ValueError` unless `spans` is bool of a shape that goes with (..., B, n, n)."""
    rows_fit = spans.dim() < 3 or batch == 1 or spans.shape[-3] in (1, batch)
    if spans.dim() < 2 or spans.shape[-2:] != (length, length) or not rows_fit or spans.dtype != torch.bool:
        raise ValueError(
            f"{name} has shape {tuple(spans.shape)} and type {spans.dtype}: bool of shape (..., {batch}, {length}, {length}) "
            "is needed, True at [row, i, j] for a span i..j."
        )


def check_trees(spans: torch.Tensor, lengths: torch.Tensor | None) -> None:
    """Raise a `ValueError` unless masks (..., B, n, n), False past the lengths, are binary trees."""
    wrong = ~are_trees(spans, lengths)
    wrong = wrong.view(-1, wrong.shape[-1]).any(0)
    if wrong.any():
        raise ValueError(
            f"What is given for row(s) {_listed(wrong)} is no binary tree: n spans of width 1, the whole sentence, and two "
            "parts for every span of two words or more, nothing else."
        )


def check_required(required: torch.Tensor) -> None:
    """Raise a `ValueError` where spans that must be there cross each other; (B, n, n), False past the lengths."""
    rows = (required & crossing(required)).flatten(1).any(1)
    if rows.any():
        raise ValueError(
            f"Required spans of row(s) {_listed(rows)} cross each other: no tree has two spans that overlap unless one is "
            "inside the other."
        )


def _listed(rows: torch.Tensor) -> list[int]:
    return rows.nonzero().flatten().tolist()
