"""Messages and their meanings as arrays, after checking what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

# Stands behind the end of a message; no symbol of a message is negative.
PADDING = -1
MEANING_TYPES = ("attributes", "vectors")
Messages = Sequence[Sequence[int]] | ArrayLike


@dataclass(frozen=True)
class MessageTable:
    """N messages of at most T symbols.

    Attributes:
        symbols: (N, T) symbol ids from 0 on, `PADDING` behind the end of a message.
        lengths: (N,) symbols of each message, 0 for an empty one.
    """

    symbols: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,): which of the distinct messages each is, from 0 on."""
        if self.symbols.shape[1] == 0:
            return np.zeros(len(self), np.int64)
        # The ends of messages are in the padding, so that equal rows are equal messages.
        return np.unique(self.symbols, axis=0, return_inverse=True)[1].reshape(-1)

    def take(self, rows: np.ndarray) -> "MessageTable":
        """The messages of these rows, in this order."""
        return MessageTable(self.symbols[rows], self.lengths[rows])


def message_table(messages: "Messages | MessageTable") -> MessageTable:
    """Read N messages.

    Args:
        messages: N sequences of symbol ids, whole numbers from 0 on, without the end symbol and without padding: an agent that
            says `5 2 EOS` sent [5, 2], and one that says `EOS` at once sent []. Or an array (N, T) of messages of one length,
            or what this function returned before.

    Raises:
        ValueError: no message, or, with its row named, what is no sequence of whole numbers from 0 on.
    """
    if isinstance(messages, MessageTable):
        return messages
    if isinstance(messages, str) or not hasattr(messages, "__len__"):
        raise ValueError(f"messages is a {type(messages).__name__}; a list of messages is needed, each a list of symbol ids")
    if len(messages) == 0:
        raise ValueError("there is no message; give at least one, as in [[3, 1], [3]]")
    rows = [_symbols(number, message) for number, message in enumerate(messages)]
    lengths = np.array([len(row) for row in rows])
    symbols = np.full((len(rows), lengths.max()), PADDING, np.int64)
    symbols[np.arange(symbols.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    negative = np.flatnonzero((symbols < 0).sum(1) > symbols.shape[1] - lengths)
    if len(negative):
        row = negative[0]
        raise ValueError(
            f"messages[{row}] is {symbols[row, : lengths[row]].tolist()}; symbols count from 0, and a negative one most often "
            "is padding: leave out what stands behind the end of a message, and the end symbol too"
        )
    return MessageTable(symbols, lengths)


def meaning_table(
    meanings: Sequence | ArrayLike, count: int | None = None, meaning_type: str | None = None
) -> tuple[np.ndarray, str]:
    """Read N meanings.

    Args:
        meanings: (N, A) whole numbers, A attributes that each have one of several values, or (N, F) vectors.
        count: N that is needed, one meaning for each message.
        meaning_type: `"attributes"`, `"vectors"`, or None: vectors where some number is not whole, attributes otherwise.

    Returns:
        (N, A) int64 or (N, F) float64, and which of the two types it is.

    Raises:
        ValueError: another shape or another number of rows, what is not finite, attributes that are not whole.
    """
    if meaning_type not in (None, *MEANING_TYPES):
        raise ValueError(f"meaning_type is {meaning_type!r}; choose {' or '.join(map(repr, MEANING_TYPES))}, or None")
    try:
        table = np.asarray(meanings)
    except ValueError as error:
        raise ValueError("meanings have rows of several lengths; each must have the same attributes") from error
    if table.ndim != 2 or 0 in table.shape:
        mend = "; for one attribute write meanings[:, None]" if table.ndim == 1 else ""
        raise ValueError(f"meanings has shape {table.shape}; (meanings, attributes) or (meanings, features) is needed{mend}")
    if table.dtype.kind not in "biuf":
        raise ValueError(f"meanings is made of {table.dtype}; number the values of each attribute from 0 on")
    if count is not None and len(table) != count:
        raise ValueError(f"there are {count} messages and {len(table)} meanings; give one meaning for each message")
    if not np.isfinite(table).all():
        raise ValueError("meanings holds infinite or NaN values; leave those rows out, with their messages")
    is_whole = table.dtype.kind != "f" or bool((table == np.round(table)).all())
    if meaning_type == "attributes" and not is_whole:
        raise ValueError("meanings are attributes and hold numbers that are not whole; number the values of each from 0 on")
    if meaning_type == "vectors" or not is_whole:
        return table.astype(np.float64), "vectors"
    return table.astype(np.int64), "attributes"


def row_ids(table: np.ndarray) -> np.ndarray:
    """(N,): which of the distinct rows of (N, ...) each is, from 0 on, in the order in which they come first."""
    # Compared by their bytes, since sorting rows of thousands of numbers would take minutes; + 0 turns -0.0 into 0.0.
    places: dict[bytes, int] = {}
    return np.array([places.setdefault(row.tobytes(), len(places)) for row in np.ascontiguousarray(table + 0)])


def _symbols(number: int, message: Sequence[int] | ArrayLike) -> np.ndarray:
    wanted = "a flat list of symbol ids is needed, such as [3, 1], and [] where nothing was said"
    if isinstance(message, str):
        raise ValueError(f"messages[{number}] is a string; {wanted}")
    try:
        symbols = np.asarray(message)
    except ValueError as error:
        raise ValueError(f"messages[{number}] is nested; {wanted}") from error
    if symbols.ndim != 1:
        raise ValueError(f"messages[{number}] has shape {symbols.shape}; {wanted}")
    if symbols.size == 0:
        return symbols.astype(np.int64)
    if symbols.dtype.kind not in "iu":
        raise ValueError(f"messages[{number}] is made of {symbols.dtype}; {wanted}")
    return symbols.astype(np.int64)
