"""Are messages alike where meanings are (Brighton and Kirby 2006, Lazaridou et al. 2018)?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from hf_lvm.metrics.language_structure.distances import (
    MEANING_DISTANCES,
    MESSAGE_DISTANCES,
    choose_pairs,
    meaning_distances,
    message_distances,
)
from hf_lvm.metrics.language_structure.messages import Messages, MessageTable, meaning_table, message_table

# All pairs of 2,000 meanings.
MAX_PAIRS = 2_000_000
# Distances of vectors that differ by less than this share of the largest are taken for equal: rounding breaks no tie.
_TIE = 1e-12


def topographic_similarity(
    messages: Messages | MessageTable,
    meanings: Sequence | ArrayLike,
    *,
    message_distance: str = "edit",
    meaning_distance: str | None = None,
    meaning_type: str | None = None,
    max_pairs: int = MAX_PAIRS,
    seed: int = 0,
) -> float:
    """Spearman correlation of the distance of two messages with that of their meanings, over pairs of the N rows.

    Equal distances share their mean rank. Of messages of one length `edit`, `edit_over_longer` and `edit_over_mean` order
    pairs alike and give one number; of others they do not. Lazaridou et al. 2018 take the edit distance as it is and the
    cosine of attribute vectors; Chaabouni et al. 2020 divide by the length, which is the same for all. Of attributes written
    as one-hot vectors, cosine and Hamming distance are proportional.

    Args:
        messages: N messages, see [`hf_lvm.metrics.language_structure.messages.message_table`].
        meanings: (N, A) attributes or (N, F) vectors. Rows may repeat; two equal ones have distance 0 on both sides, which
            makes the similarity larger, so rather give each meaning once.
        message_distance: `"edit"`, `"edit_over_longer"`, `"edit_over_mean"` or `"hamming"`, see
            [`hf_lvm.metrics.language_structure.distances.message_distances`].
        meaning_distance: of attributes `"hamming"`; of vectors `"cosine"` (default) or `"euclidean"`.
        meaning_type: `"attributes"` or `"vectors"`; None: by whether all numbers are whole.
        max_pairs: of more pairs than this, so many are drawn.
        seed: of the draw.

    Returns:
        -1 to 1; nan where all messages or all meanings are equally far from each other, as for one distinct message, and
        for fewer than three meanings, which make no more than one pair.

    Raises:
        ValueError: an unknown distance, one that the type of meanings does not have, fewer than two pairs allowed.
    """
    table = message_table(messages)
    rows, kind = meaning_table(meanings, len(table), meaning_type)
    meaning_distance = check_distances(kind, message_distance, meaning_distance)
    if max_pairs < 2:
        raise ValueError(f"max_pairs is {max_pairs}; a correlation needs at least 2 pairs")
    if len(table) < 3:
        return float("nan")
    pairs = choose_pairs(len(table), max_pairs, seed)
    return rank_correlation(
        message_distances(table, *pairs, message_distance), meaning_distances(rows, *pairs, meaning_distance)
    )


def check_distances(meaning_type: str, message_distance: str, meaning_distance: str | None) -> str:
    """The distance of meanings, the first of its type where None was asked for.

    Raises:
        ValueError: a distance that is unknown or not of this type.
    """
    if message_distance not in MESSAGE_DISTANCES:
        raise ValueError(f"message_distance is {message_distance!r}; choose one of {', '.join(map(repr, MESSAGE_DISTANCES))}")
    allowed = MEANING_DISTANCES[meaning_type]
    if meaning_distance is None:
        return allowed[0]
    if meaning_distance not in allowed:
        raise ValueError(
            f"meaning_distance is {meaning_distance!r} and meanings are {meaning_type}; choose one of "
            f"{', '.join(map(repr, allowed))}, or say what they are with meaning_type"
        )
    return meaning_distance


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman correlation of (P,) and (P,), ties at their mean rank; nan where one of them is constant."""
    ranks = [_centred_ranks(values) for values in (first, second)]
    norms = [float(np.linalg.norm(each)) for each in ranks]
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1])) if all(norms) else float("nan")


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f" and (largest := np.abs(values).max()) > 0:
        values = np.round(values / (largest * _TIE))
    ranks = rankdata(values)
    return ranks - (len(ranks) + 1) / 2
