"""Entropies and mutual information of counted things, in nats: the plug-in estimate, with Miller and Madow's beside it.

All of these take the shares of N rows for probabilities. Where the rows are all meanings there are, each once, and the
speaker always says the same of a meaning, nothing is estimated and the numbers are those of the language itself. Where they
are a sample of N, the plug-in entropy is too small, by (K - 1) / 2N for K values that occur, to first order (Miller 1955;
Paninski 2003), and mutual information, a sum of two entropies less the joint one, most often too large. The correction of
Miller and Madow adds that term, which is enough where every value comes several times. Where messages hardly repeat it is
not: a message of its own for each of N rows has the entropy log N whatever was said, and tells every attribute.
"""

import numpy as np
from scipy.special import entr

# Cells of contingency tables that are counted at a time.
_CELLS = 1 << 22


def codes(values: np.ndarray) -> np.ndarray:
    """The same array with its values numbered from 0 on, in sorted order."""
    return np.unique(values, return_inverse=True)[1].reshape(values.shape)


def entropy(values: np.ndarray) -> float:
    """Plug-in entropy of the values of (N,) rows, -sum_v n_v/N log n_v/N, nats, 0 to log N."""
    return float(_entropies(np.bincount(codes(values))))


def miller_madow_entropy(values: np.ndarray) -> float:
    """[`entropy`] + (K - 1) / 2N for K values that occur among N (Miller 1955), nats; may exceed log K."""
    counts = np.bincount(codes(values))
    return float(_entropies(counts) + (len(counts) - 1) / (2 * counts.sum()))


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Plug-in I(X; Y) = H(X) + H(Y) - H(X, Y) of two variables of N rows, nats, 0 to the smaller entropy.

    Where nearly every row has a value of its own, as long messages have, it comes close to H(Y) whatever Y is.
    """
    first, second = codes(first), codes(second)
    joint = first * (second.max() + 1) + second
    entropies = entropy(first), entropy(second)
    # Beyond the bounds there is only rounding.
    return min(max(0.0, sum(entropies) - entropy(joint)), *entropies)


def miller_madow_information(first: np.ndarray, second: np.ndarray) -> float:
    """[`mutual_information`] + (K_X + K_Y - K_XY - 1) / 2N for the values and pairs that occur, nats; may be below 0."""
    first, second = codes(first), codes(second)
    joint = codes(first * (second.max() + 1) + second)
    values = int(first.max()) + int(second.max()) + 2
    return mutual_information(first, second) + (values - (int(joint.max()) + 1) - 1) / (2 * len(first))


def information_table(variables: np.ndarray, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information of each of V variables with each of A attributes, all of N rows.

    Args:
        variables: (N, V) whole numbers.
        attributes: (N, A) whole numbers.

    Returns:
        (V, A) plug-in I(variable; attribute), and (V,) plug-in entropies of the variables, nats, float64.
    """
    coded = codes(variables)
    rows, columns = np.nonzero(coded)
    return sparse_information_table(rows, columns, coded[rows, columns], variables.shape[1], attributes)


def sparse_information_table(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, num_variables: int, attributes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[`information_table`] of variables that are 0 nearly everywhere, as counts of thousands of symbols are.

    Args:
        rows, columns, values: (P,) each, the entries that are not 0: whole numbers from 1 on.
        num_variables: V.
        attributes: (N, A) whole numbers.
    """
    order = np.argsort(columns, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    num_values = int(values.max(initial=0)) + 1
    information, entropies = np.zeros((num_variables, attributes.shape[1])), np.zeros(num_variables)
    for place in range(attributes.shape[1]):
        attribute = codes(attributes[:, place])
        kinds = np.bincount(attribute)
        other = _entropies(kinds)
        step = max(1, _CELLS // (num_values * len(kinds)))
        for begin in range(0, num_variables, step):
            chosen = slice(begin, min(begin + step, num_variables))
            part = slice(*np.searchsorted(columns, (chosen.start, chosen.stop)))
            shape = (chosen.stop - begin, num_values, len(kinds))
            cells = ((columns[part] - begin) * num_values + values[part]) * len(kinds) + attribute[rows[part]]
            joint = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
            joint[:, 0] = kinds - joint.sum(1)
            own = _entropies(joint.sum(2))
            shared = own + other - _entropies(joint.reshape(len(joint), -1))
            entropies[chosen] = own
            information[chosen, place] = np.clip(shared, 0.0, np.minimum(own, other))  # beyond there is only rounding
    return information, entropies


def _entropies(counts: np.ndarray) -> np.ndarray:
    """Plug-in entropy over the last dimension; every row has the same, positive sum."""
    return entr(counts / counts.sum(-1, keepdims=True)).sum(-1)
