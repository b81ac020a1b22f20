"""Utterances with their meanings to tokens and actions, once, and to batches; which rows are labelled, what a prior reads."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from datasets import Dataset, DatasetDict

from hf_lvm.data.meanings import meaning_overlap, without_held_out
from hf_lvm.data.processor import IGNORED_LABEL, LatentTextProcessor, pad_rows
from hf_lvm.data.tree_batching import TreeCollator, encode_trees
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language
from hf_lvm.grammars.transition_system import END, Automaton, Source, actions_of, copied

logger = logging.getLogger(__name__)

PRIOR_MEANINGS = ("labelled", "train", "extra")


class GrammarOfModel(Protocol):
    """What is asked of the grammar of a model, such as `StructVAEModel.grammar`.

    Attributes:
        automaton: of q, which may copy.
        spelling: the automaton without copies.
        copies: whether q copies words.
        max_actions: the most steps of a tree of q.
        max_spelled: the most steps of a spelled tree.
    """

    automaton: Automaton
    spelling: Automaton
    copies: bool
    max_actions: int
    max_spelled: int

    def source(self, words: Sequence[str]) -> Source:
        """What may be copied of a sentence."""


def meaning_actions(
    language: Language, grammar: GrammarOfModel, meaning: str, words: Sequence[str] | None, name: str = "The meaning"
) -> list[int]:
    """The text of a meaning as the actions that spell it, END last.

    Args:
        words: of its utterance, which a model that copies may copy; None for a meaning alone.

    Raises:
        ValueError: a text that is none of the language, a value that the lexicon does not have, or a tree beyond the limit of
            either q or p(z).
    """
    tree = language.parse(meaning, name)
    actions = actions_of(grammar.spelling.vocabulary, tree, name=name)
    if len(actions) > grammar.max_spelled:
        raise ValueError(f"{name} takes {len(actions)} steps without copies, and the limit is {grammar.max_spelled}.")
    if words is not None:
        # The steps of the tree that the parser would have to write.
        copied(grammar.automaton, actions, grammar.source(words) if grammar.copies else None, grammar.max_actions, name)
    return [*actions, END]


def encode_meanings(
    dataset: Dataset | DatasetDict,
    processor: LatentTextProcessor,
    language: Language,
    grammar: GrammarOfModel,
    max_length: int | None = None,
    max_positions: tuple[int | None, int | None] | None = None,
) -> Dataset | DatasetDict:
    """Tokenize utterances of `load_meanings` by words, and spell their meanings.

    A meaning that the grammar of the model does not derive (a value that no training meaning has, or too many steps) leaves
    its row without actions; a log line says how many there are. The row stays: a parser that is tested on it is wrong.

    Args:
        dataset: with the columns `text` and `meaning`, either None where it is not known; rows without a text are not taken.
        language, grammar: of the meanings, and of the model.
        max_length, max_positions: as of `encode_trees`.

    Returns:
        In memory, the columns of `encode_trees` without trees; `words`, lists of strings; `meaning_ids`, actions with END,
        empty where none are known or can be written; `text` and `meaning` as they were.

    Raises:
        ValueError: as `encode_trees`.
    """
    if isinstance(dataset, DatasetDict):
        options = (processor, language, grammar, max_length, max_positions)
        return DatasetDict({split: encode_meanings(rows, *options) for split, rows in dataset.items()})
    rows = dataset.remove_columns([name for name in dataset.column_names if name not in ("text", "meaning")])
    encoded = encode_trees(
        rows,
        processor,
        tree_column=None,
        max_length=max_length,
        max_positions=max_positions,
        keep_columns=("text", "meaning"),
    )
    words = [text.split() for text in encoded["text"][:]]
    ids, reasons = [], []
    for row, (meaning, own) in enumerate(zip(encoded["meaning"][:], words, strict=True)):
        try:
            ids.append([] if meaning is None else meaning_actions(language, grammar, meaning, own, f"meaning {row}"))
        except ValueError as error:
            ids.append([])
            reasons.append(str(error))
    if reasons:
        logger.info("%d of %d meanings cannot be written by the model; the first: %s", len(reasons), len(ids), reasons[0])
    return encoded.add_column("words", words).add_column("meaning_ids", ids)


class MeaningCollator(TreeCollator):
    """Pad utterances of `encode_meanings` to a batch; columns it does not know are left out."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """B rows to a batch: that of `TreeCollator`, `words` (B lists of strings), and where the rows have them `meaning_ids`
        and `guessed_ids` (B, L), -100 behind the end and where nothing is known."""
        batch: dict[str, Any] = super().__call__(features)
        batch["words"] = [list(feature["words"]) for feature in features]
        for name in ("meaning_ids", "guessed_ids"):
            if name in features[0]:
                rows = [feature[name] or [IGNORED_LABEL] for feature in features]
                batch[name] = torch.tensor(pad_rows(rows, IGNORED_LABEL))
        return batch


def rows_with_meanings(rows: Dataset) -> list[int]:
    """The numbers of the rows that have both an utterance and a meaning, in order.

    Args:
        rows: with the columns `text` and `meaning`.

    Raises:
        ValueError: there is none.
    """
    pairs = zip(rows["text"][:], rows["meaning"][:], strict=True)
    known = [row for row, (text, meaning) in enumerate(pairs) if text and meaning]
    if not known:
        raise ValueError("No training row has both an utterance and a meaning: a parser starts from some; label a few.")
    return known


@dataclass(frozen=True)
class PriorMeanings:
    """What p(z) reads.

    Attributes:
        texts: the meanings.
        counts: `labelled`, `train` (of other training rows), `extra` of them; `extra_held_out`, extra meanings that were left
            out since a validation or test row has them; and how many `validation` and `test` rows have a meaning that is among
            these all the same, since a training row has it, too.
    """

    texts: list[str]
    counts: dict[str, int]

    def describe(self) -> str:
        """One line."""
        counts = self.counts
        line = f"{len(self.texts):,} meanings ({counts['labelled']:,} labelled"
        line += f", {counts['train']:,} of other training rows" if counts["train"] else ""
        if counts["extra"] or counts["extra_held_out"]:
            line += f", {counts['extra']:,} extra, without {counts['extra_held_out']:,} that held-out rows have"
        return f"{line}); of validation {counts['validation']:,} and of test {counts['test']:,} rows have one of them"


def prior_meanings(
    splits: Mapping[str, Dataset], labelled: Sequence[int], which: str, canonical: Callable[[str], Any]
) -> PriorMeanings:
    """The meanings that p(z) reads.

    Args:
        splits: of `load_meanings`.
        labelled: rows of `train`.
        which: `labelled`, those of labelled rows; `train`, of all training rows; `extra`, of labelled rows and of the split
            `extra`, without those that a validation or test row has.
        canonical: what is the same meaning, see `canonical_meaning`.

    Raises:
        ValueError: another name, or no extra meanings where they are asked for.
    """
    if which not in PRIOR_MEANINGS:
        raise ValueError(f"prior_meanings is {which!r}: it is one of {', '.join(map(repr, PRIOR_MEANINGS))}.")
    if which == "extra" and "extra" not in splits:
        raise ValueError("prior_meanings 'extra' asks for meanings without an utterance, and there are none: name a file.")
    chosen, meanings = set(labelled), splits["train"]["meaning"][:]
    texts = [meanings[row] for row in labelled]
    counts = {"labelled": len(texts), "train": 0, "extra": 0, "extra_held_out": 0}
    if which == "train":
        others = [meaning for row, meaning in enumerate(meanings) if meaning and row not in chosen]
        texts, counts["train"] = [*texts, *others], len(others)
    elif which == "extra":
        extra, removed = without_held_out(splits["extra"], (splits["validation"], splits["test"]), canonical)
        texts, counts["extra"], counts["extra_held_out"] = [*texts, *extra["meaning"][:]], len(extra), len(removed)
    held_out = {split: splits[split]["meaning"][:] for split in ("validation", "test")}
    counts |= {split: len(rows) for split, rows in meaning_overlap(texts, held_out, canonical).items()}
    return PriorMeanings(texts, counts)


def trees_of(language: Language, meanings: Iterable[str]) -> list[Node]:
    """The trees of different texts, in the order in which they first come."""
    return [language.parse(meaning) for meaning in dict.fromkeys(meanings)]
