"""Is a language that agents invented compositional, what does it say, and is it understood?

The functions behind the numbers are in the files beside this one; `lexicon.py` says what the symbols mean.
"""

from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value
from numpy.typing import ArrayLike

from hf_lvm.metrics.language_structure.communication import accuracy_by_length, correct_shares, target_credit
from hf_lvm.metrics.language_structure.disentanglement import (
    bag_of_symbols_disentanglement,
    positional_disentanglement,
)
from hf_lvm.metrics.language_structure.distances import choose_pairs, meaning_distances, message_distances
from hf_lvm.metrics.language_structure.information import (
    entropy,
    information_table,
    miller_madow_entropy,
    miller_madow_information,
    mutual_information,
)
from hf_lvm.metrics.language_structure.messages import Messages, MessageTable, meaning_table, message_table, row_ids
from hf_lvm.metrics.language_structure.topography import (
    MAX_PAIRS,
    check_distances,
    rank_correlation,
    topographic_similarity,
)

_DESCRIPTION = """\
Structure of a language that agents invented, from their messages and what these mean. Topographic similarity (Brighton and
Kirby 2006; Lazaridou et al. 2018): are messages alike where meanings are. Positional and bag-of-symbols disentanglement
(Chaabouni et al. 2020): does each position, or each symbol wherever it stands, tell one attribute and no other. All three
are 1 for a code with a symbol for each value and, of few meanings, well above 0 for random ones, so each comes with its mean
over random permutations of the messages. Beside them the entropy and the lengths of messages, the mutual information of
messages and positions with attributes, the share of meanings that have a message of their own and, where the scores of the
receiver are given, accuracy. A language can be understood perfectly, of unseen meanings too, and score low in all three."""

_INPUTS_DESCRIPTION = """
Args:
    messages: symbol ids of each message, whole numbers from 0 on, without the end symbol and without padding; [] where
        nothing was said.
    meanings: of each message, A attributes (whole numbers) or a vector of F numbers. All meanings there are, each once, make
        the numbers exact; a sample makes entropies too small and mutual information too large.
    logits (optional, N rows of C): scores of the receiver for the candidates, -inf for a place without one; and targets
        (optional, N whole numbers): the place of the target. Arguments of `compute`, as all that follow.
    correct (optional, N numbers in 0-1): what was understood, instead of logits and targets.
    meaning_type: "attributes", "vectors", or None (default): vectors where some number is not whole.
    message_distance: "edit" (default), "edit_over_longer", "edit_over_mean" or "hamming".
    meaning_distance: "hamming" of attributes; "cosine" (default) or "euclidean" of vectors.
    max_pairs (defaults to 2,000,000): pairs of rows in the topographic similarity; of more, so many are drawn.
    num_permutations (defaults to 10): of messages among meanings, for the chance levels; 0 leaves them out.
    seed (defaults to 0): of what is drawn.

Returns:
    topographic_similarity (-1 to 1), positional_disentanglement, bag_of_symbols_disentanglement (0-1); None where undefined.
    permuted: for each of these mean and standard_deviation over permutations; None without any.
    message_entropy, message_entropy_miller_madow, message_entropy_ceiling (log N), meaning_entropy, meaning_information
        (I(message; meaning)): nats.
    attribute_entropy, attribute_information (I(message; attribute)), attribute_information_miller_madow: nats, a list of A;
        attribute_information_share: of the entropy of the attribute, 0-1.
    position_entropy: nats, a list of T; position_information (I(symbol at the position; attribute)): nats, T lists of A;
        position_information_share: of the entropy of the attribute, 0-1. Behind its end a message has "no symbol".
    mean_length, length_standard_deviation, shortest, longest, empty_messages.
    distinct_messages, distinct_meanings, distinct_symbols; unique_message_share: meanings whose messages mean nothing else.
    accuracy, chance (1 / C), accuracy_by_length: None where nothing about them was given.
    messages: N. undefined: name -> why it is None. pairs: that were compared. And the settings.

Examples:
    >>> metric = hf_lvm.metrics.load("language_structure")
    >>> metric.compute(messages=[[4, 7], [4, 8], [5, 7], [5, 8]], meanings=[[0, 0], [0, 1], [1, 0], [1, 1]])
"""

_CITATION = """\
@article{brighton2006understanding,
  title     = {Understanding Linguistic Evolution by Visualizing the Emergence of Topographic Mappings},
  author    = {Brighton, Henry and Kirby, Simon},
  journal   = {Artificial Life},
  year      = {2006},
}
@inproceedings{lazaridou2018emergence,
  title     = {Emergence of Linguistic Communication from Referential Games with Symbolic and Pixel Input},
  author    = {Lazaridou, Angeliki and Hermann, Karl Moritz and Tuyls, Karl and Clark, Stephen},
  booktitle = {International Conference on Learning Representations},
  year      = {2018},
}
@inproceedings{chaabouni2020compositionality,
  title     = {Compositionality and Generalization in Emergent Languages},
  author    = {Chaabouni, Rahma and Kharitonov, Eugene and Bouchacourt, Diane and Dupoux, Emmanuel and Baroni, Marco},
  booktitle = {Proceedings of ACL},
  year      = {2020},
}
@incollection{miller1955note,
  title     = {Note on the Bias of Information Estimates},
  author    = {Miller, George A.},
  booktitle = {Information Theory in Psychology: Problems and Methods},
  year      = {1955},
}"""

SCORES = ("topographic_similarity", "positional_disentanglement", "bag_of_symbols_disentanglement")
# Chance levels vary with the number of meanings; these pairs tell them well enough.
_PERMUTED_PAIRS = 100_000


def compute_language_structure(
    messages: Messages | MessageTable,
    meanings: Sequence | ArrayLike,
    logits: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    *,
    meaning_type: str | None = None,
    message_distance: str = "edit",
    meaning_distance: str | None = None,
    max_pairs: int = MAX_PAIRS,
    num_permutations: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the language of N messages and their meanings.

    Args:
        messages: N sequences of symbol ids from 0 on, without end symbol and padding, or an array (N, T).
        meanings: (N, A) whole numbers, one of the values of each of A attributes, or (N, F) vectors, of which only distances,
            entropies and accuracy are told. All the meanings there are, each once, make entropies and information exact;
            see [`hf_lvm.metrics.language_structure.information`] for a sample of them.
        logits: (N, C) of the receiver, -inf for a place without a candidate; needs `targets`.
        targets: (N,) places of the targets.
        correct: (N,) in 0-1, what was understood of each message, instead of `logits` and `targets`.
        meaning_type: `"attributes"`, `"vectors"`, or None: vectors where some number is not whole.
        message_distance, meaning_distance, max_pairs: see
            [`hf_lvm.metrics.language_structure.topography.topographic_similarity`].
        num_permutations: of the messages among the meanings, for the chance levels.
        seed: of the pairs and permutations that are drawn.

    Returns:
        - `topographic_similarity`, -1 to 1; `positional_disentanglement` and `bag_of_symbols_disentanglement`, 0-1: see
          [`hf_lvm.metrics.language_structure.disentanglement`]. None where there is no such number, with the reason in
          `undefined`;
        - `permuted`: for each of the three `mean` and `standard_deviation` (of single values) over permutations, what the
          same messages score when they mean nothing;
        - `message_entropy`, `message_entropy_miller_madow`, `message_entropy_ceiling` (log N), `meaning_entropy` and
          `meaning_information`, I(message; meaning), nats;
        - `attribute_entropy`, `attribute_information` (I(message; attribute)) and `attribute_information_miller_madow`, A
          numbers in nats, and `attribute_information_share` of `attribute_entropy`, 0-1;
        - `position_entropy`, T numbers, `position_information`, (T, A), nats, and `position_information_share` of
          `attribute_entropy`, 0-1. T is the longest message; one that has ended has the value "no symbol";
        - `mean_length`, `length_standard_deviation` (of the N rows), `shortest`, `longest`, `empty_messages`;
        - `distinct_messages`, `distinct_meanings`, `distinct_symbols`, and `unique_message_share`: distinct meanings none of
          whose messages is also said of another, 0-1; 1 for an injective language;
        - `accuracy`, 0-1, `chance`, what guessing one of the candidates gives, and `accuracy_by_length`; None where nothing
          about them was given;
        - `messages` N, `undefined` (name -> reason), and the settings, `pairs` those that were compared.

        All but numbers are lists and dicts, ready for JSON.

    Raises:
        ValueError: see `message_table`, `meaning_table`, `topographic_similarity`, `target_credit` and `correct_shares`;
            logits without targets, or with `correct`.

    Example:
        >>> compute_language_structure([[4, 7], [4, 8], [5, 7], [5, 8]], [[0, 0], [0, 1], [1, 0], [1, 1]])["mean_length"]
        2.0
    """
    table = message_table(messages)
    rows, kind = meaning_table(meanings, len(table), meaning_type)
    meaning_distance = check_distances(kind, message_distance, meaning_distance)
    if num_permutations < 0:
        raise ValueError(f"num_permutations is {num_permutations}; give how many permutations make the chance levels, or 0")
    accuracy = _accuracy(table, logits, targets, correct)  # before the slow part, so that its errors come at once
    settings = {
        "meaning_type": kind,
        "message_distance": message_distance,
        "meaning_distance": meaning_distance,
        "pairs": min(max_pairs, len(table) * (len(table) - 1) // 2),
        "num_permutations": num_permutations,
        "seed": seed,
    }
    distances = {"message_distance": message_distance, "meaning_distance": meaning_distance, "meaning_type": kind}
    topographic = topographic_similarity(table, rows, **distances, max_pairs=max_pairs, seed=seed)
    scores = {SCORES[0]: topographic, **_disentanglement(table, rows, kind)}
    return {
        **{name: None if np.isnan(value) else value for name, value in scores.items()},
        "permuted": _permuted(table, rows, distances, scores, max_pairs, num_permutations, seed),
        **_information(table, rows, kind),
        "mean_length": float(table.lengths.mean()),
        "length_standard_deviation": float(table.lengths.std()),
        "shortest": int(table.lengths.min()),
        "longest": int(table.lengths.max()),
        "empty_messages": int((table.lengths == 0).sum()),
        "distinct_messages": int(table.ids.max()) + 1,
        "distinct_meanings": int(row_ids(rows).max()) + 1,
        "distinct_symbols": len(np.unique(table.symbols[table.symbols >= 0])),
        "unique_message_share": unique_message_share(table, rows),
        **accuracy,
        "messages": len(table),
        "undefined": {name: _reason(name, table, rows, kind) for name, value in scores.items() if np.isnan(value)},
        **settings,
    }


def unique_message_share(messages: Messages | MessageTable, meanings: np.ndarray) -> float:
    """Distinct meanings none of whose messages is also said of another meaning / distinct meanings, 0-1.

    1 where a perfect listener would know the meaning of every message.

    Args:
        messages: N messages.
        meanings: (N, A) or (N, F).
    """
    said, meant = message_table(messages).ids, row_ids(np.asarray(meanings))
    pairs = np.unique(np.stack([said, meant]), axis=1)
    shared = np.bincount(pairs[0]) > 1
    unclear = np.zeros(int(meant.max()) + 1, dtype=bool)
    unclear[pairs[1, shared[pairs[0]]]] = True
    return float(1 - unclear.mean())


def _disentanglement(table: MessageTable, rows: np.ndarray, kind: str) -> dict[str, float]:
    if kind == "vectors":
        return dict.fromkeys(SCORES[1:], float("nan"))
    values = positional_disentanglement(table, rows), bag_of_symbols_disentanglement(table, rows)
    return dict(zip(SCORES[1:], values, strict=True))


def _permuted(
    table: MessageTable,
    rows: np.ndarray,
    distances: dict[str, str],
    scores: dict[str, float],
    max_pairs: int,
    count: int,
    seed: int,
) -> dict[str, dict[str, float | None]] | None:
    """Mean and standard deviation of the scores that have a value, with messages permuted among meanings."""
    if not count:
        return None
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name, value in scores.items() if not np.isnan(value)}
    topographic = SCORES[0] in drawn
    if topographic:
        pairs = choose_pairs(len(table), min(max_pairs, _PERMUTED_PAIRS), seed)
        meant = meaning_distances(rows, *pairs, distances["meaning_distance"])
    for _ in range(count if drawn else 0):
        permuted = table.take(generator.permutation(len(table)))
        values = _disentanglement(permuted, rows, distances["meaning_type"])
        if topographic:
            values[SCORES[0]] = rank_correlation(message_distances(permuted, *pairs, distances["message_distance"]), meant)
        for name, own in drawn.items():
            # A permutation leaves every score defined, except where the pairs that were drawn happen to be all alike.
            if not np.isnan(values[name]):
                own.append(values[name])
    return {
        name: {"mean": float(np.mean(own)), "standard_deviation": float(np.std(own, ddof=1)) if len(own) > 1 else None}
        for name, own in drawn.items()
        if own
    }


def _information(table: MessageTable, rows: np.ndarray, kind: str) -> dict[str, Any]:
    meanings = row_ids(rows)
    result: dict[str, Any] = {
        "message_entropy": entropy(table.ids),
        "message_entropy_miller_madow": miller_madow_entropy(table.ids),
        "message_entropy_ceiling": float(np.log(len(table))),
        "meaning_entropy": entropy(meanings),
        "meaning_information": mutual_information(table.ids, meanings),
    }
    names = ("entropy", "information", "information_miller_madow", "information_share")
    if kind == "vectors":
        positions = ("entropy", "information", "information_share")
        return result | {f"attribute_{name}": None for name in names} | {f"position_{name}": None for name in positions}
    columns = list(rows.T)
    entropies = np.array([entropy(column) for column in columns])
    information = np.array([mutual_information(table.ids, column) for column in columns])
    by_position, position_entropies = information_table(table.symbols, rows)
    return result | {
        "attribute_entropy": entropies.tolist(),
        "attribute_information": information.tolist(),
        "attribute_information_miller_madow": [miller_madow_information(table.ids, column) for column in columns],
        "attribute_information_share": _shares(information, entropies).tolist(),
        "position_entropy": position_entropies.tolist(),
        "position_information": by_position.tolist(),
        "position_information_share": _shares(by_position, entropies).tolist(),
    }


def _shares(information: np.ndarray, entropies: np.ndarray) -> np.ndarray:
    """Shares of the entropy of each attribute; 0 for one that never changes, of which there is nothing to know."""
    return np.divide(information, entropies, out=np.zeros_like(information), where=entropies > 0)


def _accuracy(
    table: MessageTable, logits: ArrayLike | None, targets: ArrayLike | None, correct: ArrayLike | None
) -> dict[str, Any]:
    if (logits is None) != (targets is None) or (logits is not None and correct is not None):
        raise ValueError("give logits and targets together, or correct in their place, or none of them")
    if logits is None and correct is None:
        return {"accuracy": None, "chance": None, "accuracy_by_length": None}
    chance = None
    if logits is not None:
        correct = target_credit(logits, targets)
        chance = float((1 / (~np.isneginf(np.asarray(logits, dtype=np.float64))).sum(1)).mean())
    shares = correct_shares(correct, len(table))
    return {
        "accuracy": float(shares.mean()),
        "chance": chance,
        "accuracy_by_length": accuracy_by_length(table.lengths, shares),
    }


def _reason(name: str, table: MessageTable, rows: np.ndarray, kind: str) -> str:
    if len(table) < 2:
        return "there is one message only"
    if not table.ids.any():
        return "all messages are the same"
    if name == "topographic_similarity":
        return "all messages, or all meanings, are equally far from one another"
    if kind == "vectors":
        return "meanings are vectors and have no attributes"
    if rows.shape[1] < 2:
        return "there is one attribute only, and none to tell it from"
    return "all messages say the same symbols equally often"


class LanguageStructure(evaluate.Metric):
    """`evaluate` module over [`compute_language_structure`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            # Whole numbers pass through float64 unchanged; as int64 a vector would lose what is behind the point.
            features=Features({"messages": List(Value("int64")), "meanings": List(Value("float64"))}),
        )

    # Columns of `evaluate` are always needed, so what may be left out comes as an option.
    def _compute(self, messages, meanings, logits=None, targets=None, correct=None, **options):
        return compute_language_structure(messages, meanings, logits, targets, correct, **options)
