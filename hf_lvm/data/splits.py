"""Decide from a text alone whether it belongs to train, validation or test."""

import hashlib

from datasets import Dataset, DatasetDict

SPLITS = ("train", "validation", "test")


def split_of(text: str, validation_fraction: float = 0.05, test_fraction: float = 0.05) -> str:
    """The split that `text` belongs to, drawn from its SHA-256 hash: "train", "validation" or "test".

    A text keeps its place whatever else is in the corpus: adding or removing texts moves none of the others, and two
    equal texts never lie on different sides of the fence.
    """
    position = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise `ValueError` unless both fractions are at least 0 and leave something to train on."""
    if not (validation_fraction >= 0 and test_fraction >= 0 and validation_fraction + test_fraction < 1):
        raise ValueError(
            f"validation_fraction={validation_fraction} and test_fraction={test_fraction}: both must be at least 0 "
            "and their sum below 1, so that something is left to train on."
        )


def split_dataset(
    dataset: Dataset, keys: list[str], validation_fraction: float = 0.05, test_fraction: float = 0.05
) -> DatasetDict:
    """Cut `dataset` in three by the hash of `keys` (one string a row); the order inside each split is kept."""
    check_fractions(validation_fraction, test_fraction)
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, key in enumerate(keys):
        rows[split_of(key, validation_fraction, test_fraction)].append(row)
    return DatasetDict({split: dataset.select(rows[split]) for split in SPLITS})
