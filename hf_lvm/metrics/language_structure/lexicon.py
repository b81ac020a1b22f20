"""What the symbols of a language mean: the values that each goes with, how often, and how much more often than by chance.

A form is a symbol at a position, a symbol anywhere in a message, or a whole message; what it means is a value of an attribute
or a word. Both are counted over the N messages: a form and a value go together in a message that has the form and whose
meaning has the value, however often it says it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from hf_lvm.metrics.language_structure.messages import PADDING, Messages, MessageTable, meaning_table, message_table

UNITS = ("position", "symbol", "message")
MIN_PMI = 0.25
ENDED, EMPTY = "(ended)", "(empty)"


@dataclass(frozen=True)
class Names:
    """What numbers are called where people read them; None: their digits, and `attribute 0` of the first attribute.

    Attributes:
        attributes: one name for each attribute.
        values: for each attribute the names of its values from 0 on.
        symbols: of symbols from 0 on; of a mapping, those that are missing keep their digits.
    """

    attributes: Sequence[str] | None = None
    values: Sequence[Sequence[str]] | None = None
    symbols: Sequence[str] | Mapping[int, str] | None = None

    def attribute(self, number: int) -> str:
        """Name of an attribute."""
        return f"attribute {number}" if self.attributes is None else _named("attributes", self.attributes, number)

    def value(self, attribute: int, value: int) -> str:
        """Name of a value of an attribute."""
        if self.values is None:
            return str(value)
        return _named(f"values of attribute {attribute}", _named("values", self.values, attribute), value)

    def symbol(self, symbol: int) -> str:
        """Name of a symbol; `(ended)` of the padding behind a message."""
        if symbol == PADDING:
            return ENDED
        if self.symbols is None or (isinstance(self.symbols, Mapping) and symbol not in self.symbols):
            return str(symbol)
        return self.symbols[symbol] if isinstance(self.symbols, Mapping) else _named("symbols", self.symbols, symbol)

    def form(self, unit: str, form: tuple[int, ...]) -> str:
        """Name of a form: `symbol@position` counted from 0, the symbol, or the symbols of a message."""
        if unit == "position":
            return f"{self.symbol(form[1])}@{form[0]}"
        return " ".join(map(self.symbol, form)) or EMPTY


@dataclass(frozen=True)
class Cooccurrence:
    """How often each of F forms goes with each of V values, in N messages.

    Attributes:
        unit: what a form is, one of `UNITS`.
        forms: F tuples: (position, symbol), with `PADDING` for a message that has ended there; (symbol,); or the message.
        values: V pairs (attribute, value), or (None, word).
        counts: (F, V) messages that have both, sparse.
        form_counts: (F,) messages that have the form.
        value_counts: (V,) messages that mean the value.
        num_messages: N.
    """

    unit: str
    forms: list[tuple[int, ...]]
    values: list[tuple[int | None, Any]]
    counts: csr_array
    form_counts: np.ndarray
    value_counts: np.ndarray
    num_messages: int

    def probabilities(self) -> np.ndarray:
        """(F, V) P(value | form)."""
        return self.counts.toarray() / self.form_counts[:, None]

    def differences(self) -> np.ndarray:
        """(F, V) P(value | form) - P(value): what a form says, and neither what is frequent anyway nor what met it once."""
        return self.probabilities() - self.value_counts / self.num_messages

    def most_frequent(self, count: int) -> "Cooccurrence":
        """The `count` most frequent forms, in the order they had; of equal ones the first."""
        kept = np.sort(np.argsort(-self.form_counts, kind="stable")[:count])
        forms = [self.forms[row] for row in kept]
        return Cooccurrence(
            self.unit, forms, self.values, self.counts[kept], self.form_counts[kept], self.value_counts, self.num_messages
        )


def cooccurrence(messages: Messages | MessageTable, meanings: Sequence | ArrayLike, unit: str = "position") -> Cooccurrence:
    """Count what forms go with.

    Args:
        messages: N messages, see [`hf_lvm.metrics.language_structure.messages.message_table`].
        meanings: (N, A) attributes, or N lists of words, of which each counts once in a meaning.
        unit: `"position"`: a form is a symbol at a position, and also that a message has ended there, where others go on;
            `"symbol"`: a symbol anywhere in a message; `"message"`: a whole message, which suits short codes.

    Returns:
        Forms and values in order: by position and symbol, by symbol, by message; by attribute and value, or by word.

    Raises:
        ValueError: an unknown unit, vectors, numbers of messages and meanings that differ, what is no word.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is {unit!r}; choose one of {', '.join(map(repr, UNITS))}")
    table = message_table(messages)
    meant, values = _incidence_of_words(meanings, len(table)) if _are_words(meanings) else _incidence(meanings, len(table))
    said, forms = _said(table, unit)
    return Cooccurrence(unit, forms, values, (said.T @ meant).tocsr(), _column_sums(said), _column_sums(meant), len(table))


def lexicon_rows(
    messages: Messages | MessageTable,
    meanings: Sequence | ArrayLike,
    unit: str = "position",
    *,
    contexts: Sequence | ArrayLike | None = None,
    names: Names | None = None,
    min_count: int = 1,
    most: int | None = None,
) -> list[dict[str, Any]]:
    """A row for each form and each value it goes with, ready for JSON.

    Pointwise mutual information, log P(value | form) / P(value), says how much more often a value comes with a form than in
    all messages. Among values that are equally frequent the best one is also the most probable one; a rare value that met
    the form by chance can have a large one too, which `min_count` keeps out.

    Args:
        messages, meanings, unit: see [`cooccurrence`].
        contexts: N numbers or strings; messages of each context are counted apart, so that a symbol may mean one thing in one
            task and another in the next.
        names: of symbols, attributes and values.
        min_count: leave out pairs that fewer messages have.
        most: values of each form, the best ones.

    Returns:
        Sorted by context, by position, by `form_count` downwards, and within a form by `pmi`, then `count` downwards:
        `context` (where there are some), `position` or `message` (by unit), `symbol` (an id; None where the message has
        ended), `form` (its name), `form_count`, `attribute` (None for words), `value`, `count`, `probability` (P(value |
        form)), `value_probability` (P(value)), `pmi` in nats.

    Raises:
        ValueError: see [`cooccurrence`]; contexts of another number, a name that is missing, min_count below 1.
    """
    names = names or Names()
    if min_count < 1:
        raise ValueError(f"min_count is {min_count}; a form and a value that never meet have no row, so give at least 1")
    table = message_table(messages)
    if contexts is None:
        return _rows(cooccurrence(table, meanings, unit), names, min_count, most)
    groups = np.asarray(contexts)
    if groups.shape != (len(table),):
        raise ValueError(f"contexts has shape {groups.shape}; one for each of {len(table)} messages is needed")
    meant = meanings if _are_words(meanings) else meaning_table(meanings, len(table))[0]
    rows = []
    for context in np.unique(groups):
        chosen = np.flatnonzero(groups == context)
        counted = cooccurrence(table.take(chosen), [meant[row] for row in chosen], unit)
        rows += [{"context": context.item(), **row} for row in _rows(counted, names, min_count, most)]
    return rows


def lexicon_table(
    rows: Sequence[Mapping[str, Any]], most: int = 3, max_forms: int | None = None, min_pmi: float = MIN_PMI
) -> str:
    """Rows of [`lexicon_rows`] as text: a line a form, with the values it goes with clearly more often than all messages do.

    Args:
        rows: of one call.
        most: values a line, the best by pointwise mutual information.
        max_forms: lines; of more forms the most frequent ones stay, and the last line says how many were left out.
        min_pmi: nats; values below are not told. 0.25 is 1.28 times as often as in all messages.

    Returns:
        Lines without a break at the end: the form, in how many messages it is, and `attribute=value P(value | form)`.
    """
    forms: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        form = row.get("position"), row.get("symbol"), tuple(row.get("message", ()))
        forms.setdefault((row.get("context"), form), []).append(row)
    kept = sorted(forms, key=lambda key: -forms[key][0]["form_count"])[:max_forms]
    lines = [("context", "form", "count", "goes with, and P(value | form)")]
    shown = set(kept)
    for key, own in forms.items():
        if key in shown:
            told = ", ".join([_told(row) for row in own if row["pmi"] >= min_pmi][:most])
            context = "" if key[0] is None else str(key[0])
            lines.append((context, own[0]["form"], f"{own[0]['form_count']:,}", told or "nothing in particular"))
    columns = [column for column in range(4) if column or any(key[0] is not None for key in forms)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    # The count is set to the right, so that its digits stand under one another.
    text = [
        "  ".join(line[c].rjust(widths[c]) if c == 2 else line[c].ljust(widths[c]) for c in columns).rstrip() for line in lines
    ]
    if len(kept) < len(forms):
        text.append(f"and {len(forms) - len(kept):,} less frequent forms")
    return "\n".join(text)


def _told(row: Mapping[str, Any]) -> str:
    value = row["value"] if row["attribute"] is None else f"{row['attribute']}={row['value']}"
    return f"{value} {row['probability']:.2f}"


def _rows(counted: Cooccurrence, names: Names, min_count: int, most: int | None) -> list[dict[str, Any]]:
    labels = [
        (None, value) if attribute is None else (names.attribute(attribute), names.value(attribute, value))
        for attribute, value in counted.values
    ]
    order = range(len(counted.forms))
    if counted.unit == "position":
        order = sorted(order, key=lambda form: (counted.forms[form][0], -counted.form_counts[form]))
    else:
        order = sorted(order, key=lambda form: -counted.form_counts[form])
    rows = []
    for place in order:
        form, total = counted.forms[place], int(counted.form_counts[place])
        own = slice(*counted.counts.indptr[place : place + 2])
        counts, columns = counted.counts.data[own], counted.counts.indices[own]
        shares = counted.value_counts[columns] / counted.num_messages
        pmi = np.log(counts / total / shares)
        head: dict[str, Any] = {"form": names.form(counted.unit, form), "form_count": total}
        if counted.unit == "position":
            head = {"position": form[0], "symbol": None if form[1] == PADDING else form[1]} | head
        else:
            head = ({"symbol": form[0]} if counted.unit == "symbol" else {"message": list(form)}) | head
        # Rounding must not decide between values that are equally good.
        best = np.lexsort((columns, -counts, -np.round(pmi, 9)))
        for number in best[counts[best] >= min_count][:most]:
            attribute, value = labels[columns[number]]
            told = {"attribute": attribute, "value": value, "count": int(counts[number])}
            shared = {"probability": float(counts[number] / total), "value_probability": float(shares[number])}
            rows.append(head | told | shared | {"pmi": float(pmi[number])})
    return rows


def _said(table: MessageTable, unit: str) -> tuple[csr_array, list[tuple[int, ...]]]:
    """(N, F) which message has which form, and the forms in order."""
    count = len(table)
    if unit == "message":
        example = np.unique(table.ids, return_index=True)[1]
        forms = [tuple(table.symbols[row, : table.lengths[row]].tolist()) for row in example]
        return _matrix(np.arange(count), table.ids, count, len(forms)), forms
    rows, positions = np.nonzero(np.ones_like(table.symbols) if unit == "position" else table.symbols >= 0)
    symbols = table.symbols[rows, positions]
    keys = np.stack([positions, symbols]) if unit == "position" else symbols[None]
    forms, columns = np.unique(keys, axis=1, return_inverse=True)
    return _matrix(rows, columns.reshape(-1), count, forms.shape[1]), list(map(tuple, forms.T.tolist()))


def _incidence(meanings: Sequence | ArrayLike, count: int) -> tuple[csr_array, list[tuple[int | None, Any]]]:
    attributes, kind = meaning_table(meanings, count)
    if kind == "vectors":
        raise ValueError(
            "meanings are vectors; a lexicon needs attributes with values, such as clusters of the vectors, or words"
        )
    columns, values = [], []
    for number, column in enumerate(attributes.T):
        own, coded = np.unique(column, return_inverse=True)
        columns.append(coded.reshape(-1) + len(values))
        values += [(number, value) for value in own.tolist()]
    rows = np.tile(np.arange(count), len(columns))
    return _matrix(rows, np.concatenate(columns), count, len(values)), values


def _are_words(meanings: Sequence | ArrayLike) -> bool:
    return any(isinstance(word, str) for words in meanings if not isinstance(words, np.ndarray) for word in _some(words))


def _some(words: Any) -> Sequence:
    return [words] if isinstance(words, str) else list(words)[:1] if hasattr(words, "__iter__") else []


def _incidence_of_words(meanings: Sequence, count: int) -> tuple[csr_array, list[tuple[int | None, Any]]]:
    if len(meanings) != count:
        raise ValueError(f"there are {count} messages and {len(meanings)} meanings; give one meaning for each message")
    for number, words in enumerate(meanings):
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"meanings[{number}] is no list of words; split texts into words first")
    place = {word: number for number, word in enumerate(sorted({word for words in meanings for word in words}))}
    rows = [row for row, words in enumerate(meanings) for _ in set(words)]
    columns = [place[word] for words in meanings for word in sorted(set(words))]
    return _matrix(np.array(rows), np.array(columns), count, len(place)), [(None, word) for word in place]


def _matrix(rows: np.ndarray, columns: np.ndarray, count: int, width: int) -> csr_array:
    """(count, width) of 0 and 1, 1 at the places that are named, once or several times."""
    cells = np.unique(np.stack([rows, columns]).astype(np.int64), axis=1)
    return csr_array((np.ones(cells.shape[1], np.int64), tuple(cells)), shape=(count, width))


def _column_sums(matrix: csr_array) -> np.ndarray:
    return np.asarray(matrix.sum(axis=0)).reshape(-1)


def _named(what: str, names: Sequence, number: int) -> Any:
    if not 0 <= number < len(names):
        raise ValueError(f"names: there are {len(names)} {what} and number {number} is needed; give a name for each")
    return names[number]
