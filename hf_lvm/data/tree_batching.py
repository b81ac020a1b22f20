"""Sentences of words, with trees or without, to token ids and word numbers once, and to batches for models of trees."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from hf_lvm.data.batching import LatentTextCollator
from hf_lvm.data.encoding import check_positions
from hf_lvm.data.processor import LatentTextProcessor, pad_rows
from hf_lvm.data.tree_files import known_trees
from hf_lvm.data.word_alignment import NO_WORD
from hf_lvm.grammars.brackets import Bracketing, binarized, read_trees

logger = logging.getLogger(__name__)


def encode_trees(
    dataset: Dataset | DatasetDict,
    processor: LatentTextProcessor,
    text_column: str = "text",
    tree_column: str | None = "tree",
    binarize: bool = True,
    max_words: int | None = None,
    max_length: int | None = None,
    max_positions: int | tuple[int | None, int | None] | None = None,
    keep_columns: Sequence[str] = (),
) -> Dataset | DatasetDict:
    """Tokenize every sentence for both sides, with the word of each piece, and read its brackets.

    No sentence is ever cut: with `max_words` or `max_length`, longer ones are left out and counted in a log line; one that is
    longer than the model's positions is an error.

    Args:
        dataset: Sentences, words separated by blanks, or several splits of them.
        processor: Makes encoder ids and labels.
        text_column: The column that holds the sentences.
        tree_column: The column with a bracketed string for each sentence, empty or None where nothing is known of it. None:
            no brackets are read.
        binarize: Whether constituents of more than two parts become right-branching, so that every tree is whole, as for
            supervised training. Otherwise brackets are partial: what they leave open, the model decides.
        max_words: Leave out sentences of more words than this.
        max_length: Leave out sentences with more tokens than this on either side, special tokens included.
        max_positions: How many tokens the model has positions for: one number for both sides, or (encoder, decoder)
            with `None` for a side without limit.
        keep_columns: Columns of `dataset` to carry along, such as `"text"` or the tree as it was.

    Returns:
        In memory, the same splits with the columns `input_ids`, `word_ids`, `labels`, `decoder_word_ids` (lists, not padded;
        see [`LatentTextProcessor.tokenize_words`]), `num_words`, `num_bytes` (UTF-8, of the words with one blank between),
        `length` (tokens of the longer side); with brackets `required_spans`, a list of [first, last] for each span of two
        words or more, and `whole_tree`, whether they are a binary tree and leave nothing open; then `keep_columns`.

    Raises:
        ValueError: a missing column, an empty data set, no sentence left, a sentence that is too long; and, with the row
            named, an empty sentence, a word that cannot be aligned, and brackets that do not fit their sentence.
    """
    options = (processor, text_column, tree_column, binarize, max_words, max_length, max_positions, keep_columns)
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: _encode(rows, split, *options) for split, rows in dataset.items()})
    return _encode(dataset, "dataset", *options)


class TreeCollator(LatentTextCollator):
    """Pad sentences of `encode_trees` to a batch for a model of trees; columns it does not know are left out.

    Example:
        >>> loader = DataLoader(encoded["train"], batch_size=16, collate_fn=TreeCollator(processor))
    """

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """B rows of n words or less to a batch.

        Returns:
            `input_ids`, `attention_mask` and `word_ids` (B, S), padded on the tokenizer's `padding_side`, `labels` and
            `decoder_word_ids` (B, T), padded on the right; -1 where there is no word, -100 in `labels`. With brackets
            `required_spans` (B, n, n) bool, True at [row, first, last] for each span of two words or more that a tree must
            have, all False in rows of which nothing is known.
        """
        batch = super().__call__(features)
        word_ids = [feature["word_ids"] for feature in features]
        batch["word_ids"] = torch.tensor(pad_rows(word_ids, NO_WORD, self.processor.tokenizer.padding_side))
        batch["decoder_word_ids"] = torch.tensor(pad_rows([feature["decoder_word_ids"] for feature in features], NO_WORD))
        if any(feature.get("required_spans") is not None for feature in features):
            num_words = 1 + int(batch["decoder_word_ids"].max())
            required = torch.zeros(len(features), num_words, num_words, dtype=torch.bool)
            cells = [
                (row, first, last)
                for row, feature in enumerate(features)
                for first, last in feature.get("required_spans") or ()
            ]
            if cells:
                required[tuple(torch.tensor(cells).unbind(1))] = True
            batch["required_spans"] = required
        return batch


def _encode(
    rows: Dataset,
    name: str,
    processor: LatentTextProcessor,
    text_column: str,
    tree_column: str | None,
    binarize: bool,
    max_words: int | None,
    max_length: int | None,
    max_positions: int | tuple[int | None, int | None] | None,
    keep_columns: Sequence[str],
) -> Dataset:
    for column in (text_column, *((tree_column,) if tree_column else ()), *keep_columns):
        if column not in rows.column_names:
            hint = " Without trees, give tree_column=None." if column == tree_column else ""
            raise ValueError(f"{name} has no column {column!r}; its columns are {', '.join(rows.column_names)}.{hint}")
    sentences = [(text or "").split() for text in rows[text_column][:]]
    if not sentences:
        raise ValueError(f"{name} is empty: there is no sentence to encode.")
    trees = _read_brackets(rows[tree_column][:], sentences, binarize, name) if tree_column else None
    columns: dict[str, list] = processor.tokenize_words(sentences, f"{name}, sentence")
    columns["num_words"] = [len(words) for words in sentences]
    columns["num_bytes"] = [len(" ".join(words).encode("utf-8")) for words in sentences]
    columns["length"] = [max(map(len, pair)) for pair in zip(columns["input_ids"], columns["labels"], strict=True)]
    if trees is not None:
        columns["required_spans"] = [[list(span) for span in tree.spans] for tree in trees]
        columns["whole_tree"] = [tree.is_binary_tree for tree in trees]
    kept = _keep_short(columns["num_words"], max_words, f"max_words={max_words} words", name, range(len(sentences)))
    kept = _keep_short(columns["length"], max_length, f"max_length={max_length} tokens", name, kept)
    check_positions(kept, columns["input_ids"], columns["labels"], max_positions, name)
    columns |= {column: rows[column][:] for column in keep_columns}
    return Dataset.from_dict({column: [values[row] for row in kept] for column, values in columns.items()})


def _read_brackets(
    trees: Sequence[str | None], sentences: Sequence[Sequence[str]], binarize: bool, name: str
) -> list[Bracketing]:
    found = []
    for tree, words in zip(read_trees(known_trees(trees), sentences, name=f"{name}, tree"), sentences, strict=True):
        if tree is None:
            found.append(Bracketing(tuple(words)))
        else:
            found.append(binarized(tree) if binarize else tree)
    return found


def _keep_short(lengths: Sequence[int], longest: int | None, what: str, name: str, among: Sequence[int]) -> list[int]:
    kept = [row for row in among if longest is None or lengths[row] <= longest]
    if not kept:
        shortest = min(lengths[row] for row in among)
        raise ValueError(
            f"{name}: all {len(among)} sentences are longer than {what} (the shortest has {shortest}); raise it or give "
            "shorter sentences."
        )
    if len(kept) < len(among):
        logger.info("%s: %d of %d sentences are longer than %s and are left out.",
                    name, len(among) - len(kept), len(among), what)  # fmt: skip
    return kept
