"""Batches of chosen rows of a data set, as the trainer's own dataloader would make them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import datasets
import torch

if TYPE_CHECKING:
    from hf_lvm.training.trainer import LatentTrainer


class CollatedRows:
    """Makes a batch of rows, with the trainer's collator and without the columns that the model does not take.

    Args:
        trainer: whose collator it is.
        dataset: of a known length.
        description: what the data set is for, for the log.
    """

    def __init__(self, trainer: "LatentTrainer", dataset: Any, description: str) -> None:
        self._collate = trainer.data_collator
        if isinstance(dataset, datasets.Dataset):
            dataset = trainer._remove_unused_columns(dataset, description=description)
        else:
            self._collate = trainer._get_collator_with_removed_columns(self._collate, description=description)
        self._dataset = dataset

    def __call__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        many = getattr(self._dataset, "__getitems__", None)
        return self._collate(many(list(rows)) if many else [self._dataset[row] for row in rows])


def lengths_of(dataset: Any, column: str) -> list[int] | None:
    """The column that holds the length of each row; None where there is none."""
    return list(dataset[column]) if column in (getattr(dataset, "column_names", None) or ()) else None
