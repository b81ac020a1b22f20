"""Known classes of texts: from columns of a data set to numbers, some of them hidden."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_lvm.data.labelled_choice import check_num_labelled

UNKNOWN = -1


def class_names(dataset: Dataset, columns: Sequence[str]) -> list[list[str]]:
    """The classes that occur in each column, sorted; numbers in their own order.

    Raises:
        ValueError: a column that is not there, or without two classes.
    """
    names = []
    for column in columns:
        if column not in dataset.column_names:
            raise ValueError(f"There is no column {column!r} with classes; the columns are {', '.join(dataset.column_names)}.")
        values = {value for value in dataset[column] if not _is_unknown(value)}
        if len(values) < 2:
            raise ValueError(f"The column {column!r} has {len(values)} classes; a variable needs at least 2.")
        is_number = all(isinstance(value, (int, np.integer)) for value in values)
        names.append([str(value) for value in sorted(values, key=None if is_number else str)])
    return names


def add_classes(texts: DatasetDict, columns: Sequence[str], names: Sequence[Sequence[str]]) -> DatasetDict:
    """Every split with a column `classes`: a list of numbers a text, one a column, -1 where the class is not known.

    Not known is an empty string, None or -1.

    Raises:
        ValueError: a class that has no name, or a missing column.
    """
    numbers = [{name: number for number, name in enumerate(each)} for each in names]
    return DatasetDict({split: _with_classes(rows, columns, numbers, split) for split, rows in texts.items()})


def hide_classes(dataset: Dataset, num_labelled: int | None, seed: int = 0) -> Dataset:
    """A data set in which only some texts keep their classes, as many of each class (of the first variable) as can be.

    Args:
        dataset: with a column `classes`.
        num_labelled: texts that keep them; -1 or None for all, 0 for none. A text is counted where all its classes are known.
        seed: of the choice. With one seed, fewer labelled texts are a part of more.

    Raises:
        ValueError: more than there are, or below -1.
    """
    classes = np.asarray(dataset["classes"][:])
    known = np.flatnonzero((classes != UNKNOWN).all(1))
    check_num_labelled(len(known), num_labelled)
    if num_labelled is None or num_labelled == -1:
        return dataset
    shuffled = known[np.random.default_rng(seed).permutation(len(known))]
    # The first of each class, then the second of each, and so on.
    first = classes[shuffled, 0]
    turn = np.empty(len(shuffled), dtype=int)
    for value in np.unique(first):
        turn[first == value] = np.arange((first == value).sum())
    kept = shuffled[np.argsort(turn, kind="stable")][:num_labelled]
    hidden = np.full_like(classes, UNKNOWN)
    hidden[kept] = classes[kept]
    return dataset.remove_columns("classes").add_column("classes", hidden.tolist())


def _with_classes(rows: Dataset, columns: Sequence[str], numbers: Sequence[dict[str, int]], split: str) -> Dataset:
    found = []
    for column, known in zip(columns, numbers, strict=True):
        if column not in rows.column_names:
            raise ValueError(f"{split} has no column {column!r}; its columns are {', '.join(rows.column_names)}.")
        values = rows[column][:]
        strange = {str(value) for value in values if not _is_unknown(value)} - set(known)
        if strange:
            raise ValueError(
                f"{split}: the column {column!r} holds {', '.join(sorted(strange)[:5])}, and the classes are "
                f"{', '.join(known)}."
            )
        found.append([UNKNOWN if _is_unknown(value) else known[str(value)] for value in values])
    classes = [list(row) for row in zip(*found, strict=True)]
    return rows.remove_columns([name for name in ("classes",) if name in rows.column_names]).add_column("classes", classes)


def _is_unknown(value: Any) -> bool:
    return value is None or value == "" or value == UNKNOWN
