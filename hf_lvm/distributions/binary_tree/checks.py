"""What the scores, lengths, values and constraints of a tree must be, said clearly where they are not."""

import torch

from hf_lvm.distributions.binary_tree.constraints import are_trees, crossing, within
from hf_lvm.distributions.lengths import rows_of


def check_shape(scores: torch.Tensor) -> None:
    """Raise a `ValueError` unless `scores` is floating point, (B, n, n) or (B, n, n, L)."""
    if scores.dim() not in (3, 4) or scores.shape[1] != scores.shape[2] or 0 in scores.shape:
        raise ValueError(
            f"Got scores {tuple(scores.shape)}: (B, n, n) are needed, a score for each span i..j at [row, i, j], or (B, n, n, "
            "L) for spans with labels; none of these may be 0."
        )
    if not scores.is_floating_point():
        raise ValueError(f"Got scores of type {scores.dtype}: floating point is needed.")


def check_scores(scores: torch.Tensor, lengths: torch.Tensor | None) -> None:
    """Raise a `ValueError` unless scores (B, n, n) or (B, n, n, L) within the lengths are numbers or -inf."""
    wrong = scores.isnan() | (scores == torch.inf)
    if wrong.dim() == 4:
        wrong = wrong.any(-1)
    wrong = wrong & within(lengths, scores.shape[1], scores.device)
    if wrong.any():
        row, start, end = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"scores holds nan or +inf in row(s) {rows_of(wrong.flatten(1).any(1))}, first for the span {start}..{end} of row "
            f"{row}: a score is a number, or -inf for what is forbidden."
        )


def check_possible(log_partition: torch.Tensor) -> None:
    """Raise a `ValueError` where log Z (B,) says that no tree is possible."""
    if (log_partition == -torch.inf).any():
        raise ValueError(
            f"No tree is possible in row(s) {rows_of(log_partition == -torch.inf)}: every one has a span that is forbidden, "
            "by a score of -inf or by a condition. Forbid or require fewer spans."
        )


def check_masks(masks: torch.Tensor, batch: int, event_shape: tuple[int, ...], name: str) -> None:
    """Raise a `ValueError` unless `masks` is bool of a shape that goes with (..., B, *event_shape)."""
    rows = masks.shape[: max(0, masks.dim() - len(event_shape))][-1:]
    rows_fit = batch == 1 or all(size in (1, batch) for size in rows)
    if masks.shape[-len(event_shape) :] != event_shape or not rows_fit or masks.dtype != torch.bool:
        raise ValueError(
            f"{name} has shape {tuple(masks.shape)} and type {masks.dtype}: bool of shape "
            f"(..., {', '.join(map(str, (batch, *event_shape)))}) is needed, True at [row, i, j] for a span i..j"
            f"{', at [row, i, j, label] where it has that label' if len(event_shape) == 3 else ''}."
        )


def check_trees(value: torch.Tensor, lengths: torch.Tensor | None, labelled: bool) -> None:
    """Raise a `ValueError` unless masks (..., B, n, n) or (..., B, n, n, L), False past the lengths, are binary trees."""
    wrong = ~are_trees(value.any(-1) if labelled else value, lengths)
    if labelled:
        wrong = wrong | (value.sum(-1) > 1).flatten(-2).any(-1)
    wrong = wrong.view(-1, wrong.shape[-1]).any(0)
    if wrong.any():
        raise ValueError(
            f"What is given for row(s) {rows_of(wrong)} is no binary tree: n spans of width 1, the whole sentence, and two "
            f"parts for every span of two words or more, nothing else{', and one label for each' if labelled else ''}."
        )


def check_required(required: torch.Tensor) -> None:
    """Raise a `ValueError` where spans that must be there cross each other; (..., n, n), False past the lengths."""
    rows = (required & crossing(required)).flatten(-2).any(-1)
    if rows.any():
        raise ValueError(
            f"Required spans of row(s) {rows_of(rows)} cross each other: no tree has two spans that overlap unless one is "
            "inside the other."
        )


def check_same_lengths(ours: torch.Tensor | None, theirs: torch.Tensor | None, length: int) -> None:
    """Raise a `ValueError` where the lengths (B,) of two distributions differ; None for all `length`."""
    wrong = torch.as_tensor(length if ours is None else ours) != torch.as_tensor(length if theirs is None else theirs)
    if wrong.any():
        raise ValueError(f"The sentences in row(s) {rows_of(wrong)} differ in length: they must be the same sentences.")
