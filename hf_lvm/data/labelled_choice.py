"""Which training rows show their labels: one convention for every model that learns from some."""

import random
from collections.abc import Sequence


def choose_labelled(
    known: Sequence[int], num_labelled: int | None, label_seed: int | None = None, name: str = "num_labelled"
) -> list[int]:
    """The rows that keep their labels, in order.

    Args:
        known: numbers of the rows whose label is known, ascending.
        num_labelled: how many keep it: -1 or None for all of them, 0 for none.
        label_seed: of a random draw, in which the first n rows of a longer draw are a draw of n; None takes the first rows.
        name: of the option that says how many, for the error.

    Raises:
        ValueError: more than there are, or below -1.
    """
    check_num_labelled(len(known), num_labelled, name)
    if num_labelled is None or num_labelled == -1:
        return list(known)
    order = list(known)
    if label_seed is not None:
        random.Random(label_seed).shuffle(order)
    return sorted(order[:num_labelled])


def check_num_labelled(num_known: int, num_labelled: int | None, name: str = "num_labelled") -> None:
    """Raise a `ValueError` where more labels are asked for than the training rows have, or where the number means nothing."""
    if num_labelled is None or -1 <= num_labelled <= num_known:
        return
    raise ValueError(
        f"{name} is {num_labelled}, and {num_known} training rows have a label that can be used: give 0 to {num_known}, or -1 "
        "for all of them."
    )
