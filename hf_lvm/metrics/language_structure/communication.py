"""Is the target found, and with messages of what length?"""

import numpy as np
from numpy.typing import ArrayLike


def target_credit(logits: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """For each game 1 where the target has the largest logit, 0 where it has not, 1 / n where n candidates share it.

    A receiver that scores all candidates alike gets 1 / C this way, and not 1 because the target happens to stand first.

    Args:
        logits: (N, C) scores or log-probabilities of the candidates; -inf for a place without one.
        targets: (N,) where the target stands, 0 to C - 1.

    Returns:
        (N,) float64, 0-1; the mean is the accuracy that ties broken at random have.

    Raises:
        ValueError: shapes that do not fit, NaN or +inf, a target that is no candidate.
    """
    scores, places = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    if scores.ndim != 2 or 0 in scores.shape or places.shape != scores.shape[:1]:
        raise ValueError(
            f"logits has shape {scores.shape} and targets {places.shape}; (games, candidates) and (games,) are needed"
        )
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise ValueError("logits holds NaN or +inf; only -inf is allowed, for a place without a candidate")
    if places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= scores.shape[1]:
        raise ValueError(f"targets must be whole numbers from 0 to {scores.shape[1] - 1}, the places of the candidates")
    own = scores[np.arange(len(scores)), places]
    if np.isneginf(own).any():
        row = int(np.flatnonzero(np.isneginf(own))[0])
        raise ValueError(f"targets[{row}] is {places[row]}, whose logit is -inf: the target must be a candidate")
    largest = scores.max(1)
    return np.where(own == largest, 1 / (scores == largest[:, None]).sum(1), 0.0)


def correct_shares(correct: ArrayLike, count: int) -> np.ndarray:
    """(N,) float64 of numbers in 0-1, or of booleans, one for each of `count` messages.

    Raises:
        ValueError: another shape, or numbers outside 0-1.
    """
    shares = np.asarray(correct, dtype=np.float64)
    if shares.shape != (count,):
        raise ValueError(f"correct has shape {shares.shape}; one number for each of {count} messages is needed")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("correct holds numbers outside 0-1; 1 is a message that was understood, 0 one that was not")
    return shares


def accuracy_by_length(lengths: ArrayLike, correct: ArrayLike) -> list[dict[str, float | int]]:
    """Accuracy of the messages of each length.

    Args:
        lengths: (N,) symbols of each message.
        correct: (N,) 0-1, see [`target_credit`].

    Returns:
        One a length, in order: `length`, `messages`, `accuracy`, and `standard_error` of its mean (None for one message).
    """
    lengths = np.asarray(lengths)
    shares = correct_shares(correct, len(lengths))
    rows = []
    for length in np.unique(lengths):
        own = shares[lengths == length]
        error = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else None
        rows.append({"length": int(length), "messages": len(own), "accuracy": float(own.mean()), "standard_error": error})
    return rows
