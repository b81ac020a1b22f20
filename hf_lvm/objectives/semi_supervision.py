"""Semi-supervision: one loss out of rows whose latent is known and rows whose latent is not (Kingma et al. 2014, equation 9).

    J = mean over labelled rows of (bound of log p(x, y), plus -alpha log q(y|x))  +  w * mean over unlabelled rows of (bound)

Written once for every model that is told some of its latents. A micro-batch, or the batch of one process, sees a part of the
rows; divided by the counts of the whole batch, their sum is the loss of the whole batch.
"""

from dataclasses import dataclass

import torch


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


def check_classes(classes: torch.Tensor, num_variables: int, num_classes: int, batch_size: int) -> torch.Tensor:
    """Observed classes as (B, M).

    Args:
        classes: (B, M), or (B,) for one variable; -1 where nothing is observed.

    Raises:
        ValueError: another shape, no whole numbers, or classes that do not exist.
    """
    if classes.dim() == 1 and num_variables == 1:
        classes = classes.unsqueeze(1)
    if tuple(classes.shape) != (batch_size, num_variables):
        raise ValueError(
            f"classes has shape {tuple(classes.shape)}: give one class for each of {num_variables} variables of "
            f"{batch_size} sentences, {(batch_size, num_variables)}, and -1 where it is not known."
        )
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise ValueError(f"classes are {classes.dtype}: give whole numbers, 0 to {num_classes - 1}, or -1 where not known.")
    if classes.numel() and not (int(classes.min()) >= -1 and int(classes.max()) < num_classes):
        raise ValueError(
            f"classes run from {int(classes.min())} to {int(classes.max())}, and this model has {num_classes} of them: give 0 "
            f"to {num_classes - 1}, or -1 where a class is not known; or build it with more num_classes."
        )
    return classes
