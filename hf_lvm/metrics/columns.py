"""Checks that several metrics make of their columns, predictions and references."""

from collections.abc import Sequence


def check_pairs(predictions: Sequence, references: Sequence) -> None:
    """Raise a `ValueError` unless there are as many predictions as references, and at least one."""
    if len(predictions) != len(references) or len(references) == 0:
        raise ValueError(
            f"there are {len(predictions)} predictions and {len(references)} references; "
            "one reference per prediction and at least one pair is needed"
        )


def check_sentences(name: str, texts: Sequence[str]) -> None:
    """Raise a `ValueError` unless a column is a list of strings."""
    if isinstance(texts, str) or any(not isinstance(text, str) for text in texts):
        kinds = "one string" if isinstance(texts, str) else ", ".join(sorted({type(text).__name__ for text in texts}))
        raise ValueError(f"{name} is made of {kinds}; a list of strings is needed, one sentence each")


def check_is_column(name: str, column: Sequence) -> None:
    """Raise a `ValueError` for a string in the place of a list."""
    if isinstance(column, str):
        raise ValueError(f"{name} is one string; a list with one entry for each sentence is needed")
