"""Objects that agents talk about: combinations of attributes, or vectors of features from a file."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hf_lvm.data.splits import SPLITS, check_fractions

# All combinations are held in memory: no more than these.
MOST_OBJECTS = 1_000_000


def attribute_objects(
    sizes: Sequence[int], *, validation_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> dict[str, torch.Tensor]:
    """All combinations of the values of some attributes, cut in three: split -> integers (N, A).

    Held-out combinations are new, their values are not: every value of every attribute stands in a training object.

    Args:
        sizes: the number of values of each attribute; [8, 8, 8, 8] are 4,096 objects.
        validation_fraction, test_fraction: of all objects.
        seed: of the draw.

    Raises:
        ValueError: sizes that are none or too many combinations, or fractions that leave a value out of training.
    """
    check_fractions(validation_fraction, test_fraction)
    total = math.prod(sizes)
    if not sizes or min(sizes) < 1 or not 2 <= total <= MOST_OBJECTS:
        raise ValueError(
            f"Attributes of {list(sizes)} values are {total:,} objects: give the number of values of each attribute, for 2 to "
            f"{MOST_OBJECTS:,} combinations."
        )
    objects = torch.tensor(list(itertools.product(*map(range, sizes))))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = {"validation": round(validation_fraction * total), "test": round(test_fraction * total)}
    left = [torch.full((size,), total // size).tolist() for size in sizes]  # training objects with each value
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row in order:
        values = objects[row].tolist()
        split = next((name for name in ("validation", "test") if len(rows[name]) < wanted[name]), "train")
        if split != "train" and min(counts[value] for counts, value in zip(left, values, strict=True)) < 2:
            split = "train"
        if split != "train":
            for counts, value in zip(left, values, strict=True):
                counts[value] -= 1
        rows[split].append(row)
    if any(len(rows[name]) < count for name, count in wanted.items()):
        raise ValueError(
            f"validation_fraction {validation_fraction} and test_fraction {test_fraction} of {total:,} objects would leave "
            "values out of the training set: lower them, or take attributes with more combinations."
        )
    return {split: objects[torch.tensor(sorted(numbers), dtype=torch.long)] for split, numbers in rows.items()}


def load_feature_objects(path: str | Path) -> torch.Tensor:
    """Vectors of features from a file: floats (N, F).

    Args:
        path: `.npy`, an array (N, F); or `.jsonl`, on each line a list of numbers or an object with the key `features`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, no vectors, vectors of several sizes, or numbers that are not finite.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}: give a .npy file of shape (N, F), or a .jsonl file of lists")
    if path.suffix == ".npy":
        try:
            rows = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is no array of numbers: write one of shape (N, F) with np.save.") from error
    elif path.suffix in (".jsonl", ".json"):
        rows = _read_vectors(path)
    else:
        raise ValueError(f"{path}: features are read from .npy or .jsonl files.")
    if rows.dtype.kind not in "biuf" or rows.ndim != 2 or 0 in rows.shape or not np.isfinite(rows).all():
        raise ValueError(
            f"{path}: finite numbers of shape (N, F) are needed, and these are {rows.dtype} of shape {rows.shape}."
        )
    return torch.as_tensor(np.ascontiguousarray(rows), dtype=torch.float32)


def _read_vectors(path: Path) -> np.ndarray:
    """(N, F) from a file with a vector on each line; (0,) from an empty one."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row = row["features"] if isinstance(row, Mapping) else row
            rows.append(np.array([float(value) for value in row]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number} is no vector: give a list of numbers, or an object with such a list under the key "
                "'features'."
            ) from error
    sizes = [len(row) for row in rows]
    if len(set(sizes)) > 1:
        raise ValueError(f"{path}: the vectors have {min(sizes)} to {max(sizes)} features; one size is needed.")
    return np.array(rows)


def split_objects(
    objects: torch.Tensor, *, validation_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Objects (N, ...) cut in three at random, equal ones once and so never on both sides: split -> (N', ...).

    Raises:
        ValueError: fractions that leave nothing to train on.
    """
    check_fractions(validation_fraction, test_fraction)
    objects = torch.unique(objects, dim=0)
    order = torch.randperm(len(objects), generator=torch.Generator().manual_seed(seed))
    sizes = [round(fraction * len(objects)) for fraction in (validation_fraction, test_fraction)]
    validation, test, train = order.split([*sizes, len(objects) - sum(sizes)])
    return {"train": objects[train], "validation": objects[validation], "test": objects[test]}
