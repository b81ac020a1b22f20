"""Does every position, or every symbol, of a message stand for one attribute of its meaning (Chaabouni et al. 2020)?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hf_lvm.metrics.language_structure.information import information_table, sparse_information_table
from hf_lvm.metrics.language_structure.messages import Messages, MessageTable, meaning_table, message_table


def positional_disentanglement(messages: Messages | MessageTable, meanings: Sequence | ArrayLike) -> float:
    """Whether the symbol at a position tells one attribute and no other (posdis).

    With a_1 and a_2 the attributes that symbol s_j at position j tells most and second most about,

        posdis = mean over positions j with H(s_j) > 0 of [ I(s_j; a_1) - I(s_j; a_2) ] / H(s_j)

    (Chaabouni et al. 2020, section 2.3). Positions where all messages have the same symbol are left out of the mean, as in
    the code of the authors. A message that has ended has the value "no symbol" there, so that a position that only long
    messages reach is a variable like the others, and the length may be what tells an attribute. All positions count alike,
    those few messages reach too, where one message more or less changes much.

    Args:
        messages: N messages, see [`hf_lvm.metrics.language_structure.messages.message_table`].
        meanings: (N, A) attributes.

    Returns:
        0 to 1; nan for fewer than two attributes, or where no position ever changes. With few rows it is well above 0 for
        messages drawn at random: see `permuted` of `compute_language_structure`.

    Raises:
        ValueError: see `message_table` and `meaning_table`.
    """
    table = message_table(messages)
    return information_gap(*information_table(table.symbols, meaning_table(meanings, len(table), "attributes")[0]))


def bag_of_symbols_disentanglement(messages: Messages | MessageTable, meanings: Sequence | ArrayLike) -> float:
    """Whether the number of times a symbol is said tells one attribute and no other, wherever it stands (bosdis).

        bosdis = mean over symbols v with H(n_v) > 0 of [ I(n_v; a_1) - I(n_v; a_2) ] / H(n_v)

    with n_v the number of times that a message says v (Chaabouni et al. 2020, section 2.3). Messages of several lengths need
    nothing special: the end is no symbol and is not counted. Symbols that all messages say equally often, as those that none
    says, are left out; each of the others counts the same, whether common or rare.

    Args:
        messages: N messages, see [`hf_lvm.metrics.language_structure.messages.message_table`].
        meanings: (N, A) attributes.

    Returns:
        0 to 1; nan for fewer than two attributes, or where all messages say the same symbols equally often.

    Raises:
        ValueError: see `message_table` and `meaning_table`.
    """
    table = message_table(messages)
    attributes = meaning_table(meanings, len(table), "attributes")[0]
    rows, columns, counts, symbols = symbol_counts(table)
    return information_gap(*sparse_information_table(rows, columns, counts, len(symbols), attributes))


def symbol_counts(table: MessageTable) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How often each message says each symbol.

    Returns:
        Three arrays (P,): a message, the place of a symbol that it says among all that are said, and how often it says it;
        and (V,) the symbols that are said, in order.
    """
    said = table.symbols >= 0
    symbols, places = np.unique(table.symbols[said], return_inverse=True)
    cells, counts = np.unique(np.nonzero(said)[0] * max(1, len(symbols)) + places.reshape(-1), return_counts=True)
    return *np.divmod(cells, max(1, len(symbols))), counts, symbols


def information_gap(information: np.ndarray, entropies: np.ndarray) -> float:
    """Mean over the variables with an entropy of (largest - second largest information) / entropy.

    Args:
        information: (V, A) nats.
        entropies: (V,) nats.

    Returns:
        0 to 1, or nan where there are fewer than two attributes or no variable has an entropy.
    """
    varies = entropies > 0
    if information.shape[1] < 2 or not varies.any():
        return float("nan")
    ordered = np.sort(information[varies], axis=1)
    return float(((ordered[:, -1] - ordered[:, -2]) / entropies[varies]).mean())
