"""Sentences with compressions, where some are known: read, encoded and batched for models that compress."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from hf_lvm.data.loading import complete_texts, name_columns, read_sources
from hf_lvm.data.processor import IGNORED_LABEL, LatentTextProcessor, pad_rows
from hf_lvm.data.splits import check_fractions
from hf_lvm.data.tree_batching import TreeCollator, encode_trees

logger = logging.getLogger(__name__)


def load_compressions(
    dataset: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    text_column: str = "text",
    summary_column: str | None = "summary",
    keep_column: str | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    min_words: int | None = None,
    max_words: int | None = None,
    config_name: str | None = None,
) -> DatasetDict:
    """Load sentences and compressions of them, with the splits `train`, `validation` and `test`, as `load_texts` does.

    Args:
        dataset, data_dir, validation_fraction, test_fraction, min_words, max_words, config_name: As of `load_texts`.
        text_column: The column with the sentences, words separated by blanks.
        summary_column: The column with compressions; empty or None where none is known. None, or a column that no split has
            under the name "summary": there is none.
        keep_column: The column that says which words a compression keeps, one sign a word, 1 or 0, as in "1101".

    Returns:
        In memory, the columns `text`, `summary` (None where not known) and `keep` (a list of bool, or None), and every other
        column under its name. A summary whose words are some of the sentence's in their order says which words it keeps, the
        leftmost; and kept words are a summary.

    Raises:
        FileNotFoundError, ConnectionError: As `load_texts`.
        ValueError: As `load_texts`; and, with the row named, signs that do not fit their sentence.
    """
    check_fractions(validation_fraction, test_fraction)
    sources, name = read_sources(dataset, data_dir, text_column, config_name, None)
    # One that was not asked for by name may be missing.
    if summary_column == "summary" and not any("summary" in rows.column_names for rows in sources.values()):
        summary_column = None
    columns = {"text": text_column} | ({} if summary_column is None else {"summary": summary_column})
    for split, rows in sources.items():
        source = f"{name} ({split})"
        sources[split] = _with_compressions(
            name_columns(rows, columns, source), summary_column is not None, keep_column, source
        )
    return complete_texts(sources, validation_fraction, test_fraction, min_words, max_words, name)


def kept_words(text: Sequence[str], summary: Sequence[str]) -> list[bool] | None:
    """Which words of a text a summary keeps, each as early as it can be; None where deletion alone does not make it."""
    kept, found = [], 0
    for word in text:
        kept.append(found < len(summary) and word == summary[found])
        found += kept[-1]
    return kept if found == len(summary) and summary else None


def read_signs(words: Sequence[str], signs: str | Sequence[bool] | None, name: str) -> list[bool] | None:
    """One sign a word as a list; None where there are none, or no word is kept.

    Args:
        words: n words of a text.
        signs: n signs, 1 for a word that is kept and 0 for one that is not: a string such as "1101", or a list.
        name: of the text, for errors.

    Raises:
        ValueError: signs that are a number, or that do not fit the words.
    """
    if signs is None or signs == "":
        return None
    if not isinstance(signs, Sequence):
        raise ValueError(
            f"{name}: {signs!r} is a number where one sign a word is needed, a string such as '1101' or a list. A csv file "
            "reads such strings as numbers: give jsonl or parquet."
        )
    if not len(signs):
        return None
    if len(signs) != len(words) or any(sign not in ("0", "1", 0, 1) for sign in signs):
        raise ValueError(
            f"{name}: {len(signs)} signs say what is kept of {len(words)} words: one a word is needed, 1 or 0, as in '1101'."
        )
    kept = [sign in ("1", 1) for sign in signs]
    return kept if any(kept) else None


def kept_text(words: Sequence[str], kept: Sequence[bool]) -> str:
    """The words of a text that are kept, one sign a word, as a text."""
    return " ".join(word for word, is_kept in zip(words, kept, strict=True) if is_kept)


def encode_compressions(
    dataset: DatasetDict,
    processor: LatentTextProcessor,
    max_length: int | None = None,
    max_positions: tuple[int | None, int | None] | None = None,
) -> DatasetDict:
    """Tokenize sentences and compressions of `load_compressions`, with the word of each piece.

    Args:
        max_length, max_positions: As of `encode_trees`.

    Returns:
        In memory, the columns of `encode_trees` without trees, `kept` (a list of bool), `summary_ids` (the decoder's tokens
        with the end), both empty where nothing is known, and `text` and `summary` as they were.

    Raises:
        ValueError: As `encode_trees`.
    """
    encoded = {}
    for split, rows in dataset.items():
        columns = encode_trees(
            rows,
            processor,
            tree_column=None,
            max_length=max_length,
            max_positions=max_positions,
            keep_columns=("text", "summary", "keep"),
        )
        summaries = [" ".join((summary or "").split()) for summary in columns["summary"][:]]
        ids = processor.decoder_tokenizer(summaries, add_special_tokens=False, verbose=False)["input_ids"]
        end = processor.end_token_id
        ids = [[*own, end] if summary else [] for own, summary in zip(ids, summaries, strict=True)]
        kept = [list(own or []) for own in columns["keep"][:]]
        columns = columns.remove_columns("keep")
        encoded[split] = columns.add_column("kept", kept).add_column("summary_ids", ids)
    return DatasetDict(encoded)


class CompressionCollator(TreeCollator):
    """Pad sentences of `encode_compressions` to a batch; columns it does not know are left out.

    Args:
        processor: As of `LatentTextCollator`.
        told_by: what tells a model of a compression: `kept` or `summary_ids`.
    """

    def __init__(self, processor: LatentTextProcessor, told_by: str = "kept"):
        super().__init__(processor)
        self.told_by = told_by

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """B rows of n words or less to a batch: that of `TreeCollator`, and where the rows have it `kept` (B, n) bool, all
        False where nothing is known, or `summary_ids` (B, L), -100 behind the end and where nothing is known."""
        batch = super().__call__(features)
        if self.told_by == "kept" and "kept" in features[0]:
            num_words = 1 + int(batch["decoder_word_ids"].max())
            kept = [[*feature["kept"], *[False] * (num_words - len(feature["kept"]))] for feature in features]
            batch["kept"] = torch.tensor(kept, dtype=torch.bool)
        if self.told_by == "summary_ids" and "summary_ids" in features[0]:
            rows = [feature["summary_ids"] or [IGNORED_LABEL] for feature in features]
            batch["summary_ids"] = torch.tensor(pad_rows(rows, IGNORED_LABEL))
        return batch


def _with_compressions(rows: Dataset, has_summaries: bool, keep_column: str | None, source: str) -> Dataset:
    if keep_column is not None and keep_column not in rows.column_names:
        raise ValueError(f"{source} has no column {keep_column!r}; its columns are {', '.join(rows.column_names)}.")
    texts = [(text or "").split() for text in rows["text"][:]]
    summaries = rows["summary"][:] if has_summaries else [None] * len(rows)
    signs = [None] * len(rows) if keep_column is None else rows[keep_column][:]
    keeps = []
    for row, (words, summary, own) in enumerate(zip(texts, summaries, signs, strict=True)):
        keeps.append(read_signs(words, own, f"{source}, row {row}"))
        if keeps[row] is None and summary:
            keeps[row] = kept_words(words, summary.split())
        elif keeps[row] is not None and not summary:
            summaries[row] = kept_text(words, keeps[row])
    taken = {"summary", "keep", keep_column} & set(rows.column_names)
    rows = rows.remove_columns(sorted(taken))
    return rows.add_column("summary", [summary or None for summary in summaries]).add_column("keep", keeps)
