"""Semi-supervision: one loss out of rows whose latent is known and rows whose latent is not (Kingma et al. 2014, equation 9).

    J = mean over labelled rows of (bound of log p(x, y), plus -alpha log q(y|x))  +  w * mean over unlabelled rows of (bound)

Written once for every model that is told some of its latents. A micro-batch, or the batch of one process, sees a part of the
rows; divided by the counts of the whole batch, their sum is the loss of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_lvm.objectives.discrete_bound import BoundTerms


@dataclass(frozen=True)
class RowCounts:
    """Rows of the batch that an optimizer step is made of, over all micro-batches and processes.

    Attributes:
        labelled: rows of which something is known.
        unlabelled: the others.
    """

    labelled: int
    unlabelled: int


def semi_supervised_mean(
    losses: torch.Tensor,
    labelled: torch.Tensor,
    *,
    unlabelled_weight: float = 1.0,
    counts: RowCounts | None = None,
) -> torch.Tensor:
    """The loss J of a batch, or the part of it that these rows make up.

    Args:
        losses: (B,), that of each row.
        labelled: (B,) bool.
        unlabelled_weight: w.
        counts: of the whole batch, when these rows are a part of it; the parts then sum to J.

    Returns:
        Scalar. A kind of row that the whole batch lacks counts nothing.

    Raises:
        ValueError: a negative weight.
    """
    if unlabelled_weight < 0:
        raise ValueError(f"unlabelled_weight must be 0 or more, but is {unlabelled_weight}.")
    if counts is None:
        num_labelled = labelled.sum()
        num_unlabelled = labelled.numel() - num_labelled
    else:
        num_labelled, num_unlabelled = (torch.tensor(count) for count in (counts.labelled, counts.unlabelled))
    shares = torch.where(
        labelled,
        1.0 / num_labelled.clamp(min=1).to(losses),
        unlabelled_weight / num_unlabelled.clamp(min=1).to(losses),
    )
    return (losses * shares).sum()


def select_rows(values: Any, rows: torch.Tensor) -> Any:
    """The rows of a tensor, or of a list with one entry a row; anything else as it is."""
    if isinstance(values, torch.Tensor):
        return values[rows]
    return [values[row] for row in rows.tolist()] if isinstance(values, list | tuple) else values


def joined_terms(parts: Sequence[BoundTerms], name: str, order: torch.Tensor) -> torch.Tensor | None:
    """A field of the terms of some rows and of others, in their order; 0 where only others have it, None where none has.

    Args:
        order: (B,), where each row of the whole batch stands in the parts one behind the other.
    """
    values = [getattr(part, name, None) for part in parts]
    if all(value is None for value in values):
        return None
    filled = [torch.zeros_like(part.kl) if value is None else value for part, value in zip(parts, values, strict=True)]
    return torch.cat(filled)[order]


def have_brackets(spans: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Whether something is told of the tree of each sentence: (B,) bool. A bracket around the whole sentence says nothing.

    Args:
        spans: (B, n, n) bool, brackets that are known; those of width 1, below the diagonal and past a length do not count.
        lengths: (B,), words of each sentence.
    """
    inside = torch.arange(spans.shape[-1], device=spans.device) < lengths.unsqueeze(1)
    wide = spans.triu(1) & inside.unsqueeze(1)
    rows = torch.arange(len(lengths), device=spans.device)
    return wide.sum((1, 2)) > wide[rows, 0, lengths - 1].long()


def check_classes(classes: torch.Tensor, class_counts: Sequence[int], batch_size: int) -> torch.Tensor:
    """Observed classes as (B, M).

    Args:
        classes: (B, M), or (B,) for one variable; -1 where nothing is observed.
        class_counts: M numbers, how many classes each variable has.

    Raises:
        ValueError: another shape, no whole numbers, or classes that do not exist.
    """
    num_variables = len(class_counts)
    if classes.dim() == 1 and num_variables == 1:
        classes = classes.unsqueeze(1)
    if tuple(classes.shape) != (batch_size, num_variables):
        raise ValueError(
            f"classes has shape {tuple(classes.shape)}: give one class for each of {num_variables} variables of "
            f"{batch_size} sentences, {(batch_size, num_variables)}, and -1 where it is not known."
        )
    if classes.is_floating_point() or classes.dtype == torch.bool:
        limit = f"0 to {max(class_counts) - 1}"
        raise ValueError(f"classes are {classes.dtype}: give whole numbers, {limit}, or -1 where not known.")
    limits = torch.tensor(class_counts, device=classes.device)
    wrong = (classes < -1) | (classes >= limits)
    if wrong.any():
        variable = int(wrong.any(0).nonzero()[0])
        own, count = classes[:, variable], class_counts[variable]
        whose = "" if num_variables == 1 else f" of variable {variable}"
        raise ValueError(
            f"classes{whose} run from {int(own.min())} to {int(own.max())}, and this model has {count} of them: give 0 to "
            f"{count - 1}, or -1 where a class is not known; or build it with more num_classes."
        )
    return classes
