"""Distances of pairs of messages and of pairs of meanings, many pairs at a time."""

import numpy as np
from scipy.spatial.distance import pdist, squareform

from hf_lvm.metrics.language_structure.messages import MessageTable

MESSAGE_DISTANCES = ("edit", "edit_over_longer", "edit_over_mean", "hamming")
MEANING_DISTANCES = {"attributes": ("hamming",), "vectors": ("cosine", "euclidean")}
# Pairs at a time whose table of edit distances stays in the cache of one core; numbers of vectors that are held at a time.
_PAIRS, _NUMBERS = 1 << 14, 1 << 21
# Distances of all pairs that may be held, of 4,096 meanings.
_SQUARE = 1 << 24


def choose_pairs(count: int, max_pairs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different ones of `count` rows: all of them where they are at most `max_pairs`, else so many drawn ones.

    Drawn pairs are independent and all equally likely, so that a pair may come twice.

    Returns:
        (P,) and (P,) numbers of rows.
    """
    if count * (count - 1) // 2 <= max_pairs:
        return np.triu_indices(count, k=1)
    generator = np.random.default_rng(seed)
    first = generator.integers(count, size=max_pairs)
    return first, (first + generator.integers(1, count, size=max_pairs)) % count


def message_distances(table: MessageTable, first: np.ndarray, second: np.ndarray, kind: str = "edit") -> np.ndarray:
    """Distances of P pairs of messages.

    Args:
        table: N messages.
        first, second: (P,) rows.
        kind: `"edit"`: fewest symbols to put in, take out or replace (Levenshtein 1966). `"edit_over_longer"`: that over the
            length of the longer message, 0-1. `"edit_over_mean"`: over the mean of both lengths, 0-2. `"hamming"`: positions
            where they differ, one that only one of them reaches included. Two empty messages have distance 0 in each.

    Returns:
        (P,): whole numbers for `edit` and `hamming`, float64 for the others.
    """
    if kind == "hamming":
        return np.concatenate(
            [
                (table.symbols[first[part]] != table.symbols[second[part]]).sum(1)
                for part in _parts(len(first), _NUMBERS // max(1, table.symbols.shape[1]))
            ]
        )
    edits = _edit_distances_of_distinct(table, first, second)
    if kind == "edit":
        return edits
    lengths = table.lengths[first], table.lengths[second]
    size = np.maximum(*lengths) if kind == "edit_over_longer" else (lengths[0] + lengths[1]) / 2
    return edits / np.maximum(size, 0.5)


def edit_distances(table: MessageTable, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Levenshtein distances of P pairs of messages, (P,) whole numbers, by the recurrence of Wagner and Fischer 1974.

    D(i, j), the distance of the first i symbols from the first j, is computed for thousands of pairs in one step. What makes a
    row i of the table one operation is that D(i, j) - j = min over k <= j of [ x(k) - k ], with x what comes from row i - 1:
    a running minimum.
    """
    distances = np.empty(len(first), np.int64)
    for part in _parts(len(first), _PAIRS):
        distances[part] = _edit_distances(table.take(first[part]), table.take(second[part]))
    return distances


def meaning_distances(meanings: np.ndarray, first: np.ndarray, second: np.ndarray, kind: str) -> np.ndarray:
    """Distances of P pairs of meanings, (P,).

    Args:
        meanings: (N, A) attributes or (N, F) vectors.
        first, second: (P,) rows.
        kind: of attributes `"hamming"`: how many differ. Of vectors `"cosine"`: 1 - cosine of the angle, 0-2, or
            `"euclidean"`.

    Raises:
        ValueError: a vector of zeros, which has no cosine.
    """
    if kind == "cosine":
        norms = np.linalg.norm(meanings, axis=1)
        if not norms.all():
            row = int(np.flatnonzero(norms == 0)[0])
            raise ValueError(f"meanings[{row}] is zero and has no direction: take meaning_distance='euclidean'")
        meanings = meanings / norms[:, None]
    # All pairs at once cost less than gathering the rows of each, of cosines by a matrix product even where few are wanted.
    cells = len(meanings) ** 2
    if kind == "cosine" and cells <= min(40 * len(first), _SQUARE):
        return (1 - meanings @ meanings.T)[first, second]
    if kind == "euclidean" and cells <= min(4 * len(first), _SQUARE):
        return squareform(pdist(meanings))[first, second]
    distances = []
    for part in _parts(len(first), max(1, _NUMBERS // meanings.shape[1])):
        one, other = meanings[first[part]], meanings[second[part]]
        if kind == "hamming":
            distances.append((one != other).sum(1))
        elif kind == "euclidean":
            distances.append(np.linalg.norm(one - other, axis=1))
        else:
            distances.append(1 - np.einsum("pf,pf->p", one, other))
    return np.concatenate(distances)


def _edit_distances_of_distinct(table: MessageTable, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[`edit_distances`], each pair of different messages once where that is less work."""
    ids = table.ids
    example = np.unique(ids, return_index=True)[1]
    count = len(example)
    pairs = np.triu_indices(count, k=1) if count * (count - 1) // 2 < len(first) else None
    if pairs is None:
        return edit_distances(table, first, second)
    square = np.zeros((count, count), np.int64)
    square[pairs] = edit_distances(table, example[pairs[0]], example[pairs[1]])
    square += square.T
    return square[ids[first], ids[second]]


def _edit_distances(one: MessageTable, other: MessageTable) -> np.ndarray:
    count, longest, most = len(one), int(one.lengths.max(initial=0)), int(other.lengths.max(initial=0))
    # The smallest whole numbers that hold all distances, most often of one byte: nothing else matters as much for the speed.
    number = np.min_scalar_type(-(longest + most + 2))
    symbols, others = np.ascontiguousarray(one.symbols.T), np.ascontiguousarray(other.symbols[:, :most].T)
    # Row j is D(i, j) - j for all pairs; D(0, j) = j.
    row, after = np.zeros((most + 1, count), number), np.empty((most + 1, count), number)
    same = np.empty((most, count), number)
    distances, columns = other.lengths.copy(), np.arange(count)
    for i in range(longest):
        after[0] = i + 1
        np.equal(others, symbols[i], out=same.view(bool) if number == np.int8 else same, casting="unsafe")
        np.subtract(row[:-1], same, out=after[1:])
        row += 1
        np.minimum(after[1:], row[1:], out=after[1:])
        # np.minimum.accumulate over the rows takes ten times as long.
        for j in range(most):
            np.minimum(after[j], after[j + 1], out=after[j + 1])
        row, after = after, row
        ended = np.flatnonzero(one.lengths == i + 1)
        places = other.lengths[ended]
        distances[ended] = row[places, columns[ended]] + places
    return distances


def _parts(count: int, size: int) -> list[slice]:
    return [slice(begin, begin + max(1, size)) for begin in range(0, max(1, count), max(1, size))]
