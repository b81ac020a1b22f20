"""Turn a data set of texts into token ids once, before training, in memory."""

import logging
from collections.abc import Sequence

from datasets import Dataset, DatasetDict

from hf_lvm.data.processor import LatentTextProcessor

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000


def encode_dataset(
    dataset: Dataset | DatasetDict,
    processor: LatentTextProcessor,
    text_column: str = "text",
    max_length: int | None = None,
    max_positions: int | tuple[int | None, int | None] | None = None,
    keep_columns: Sequence[str] = (),
    condition_column: str | None = None,
) -> Dataset | DatasetDict:
    """Tokenize every text for both sides.

    No text is ever cut: with `max_length`, longer ones are left out and counted in a log line; without it, one that is
    longer than the model's positions is an error.

    Args:
        dataset: Texts, or several splits of them.
        processor: Makes encoder ids and labels.
        text_column: The column that holds the texts.
        max_length: Leave out texts with more tokens than this on either side, special tokens included.
        max_positions: How many tokens the model has positions for: one number for both sides, or (encoder, decoder)
            with `None` for a side without limit.
        keep_columns: Columns of `dataset` to carry along, such as `"text"` or a class label.
        condition_column: The column with the texts that a conditional model reads beside the texts.

    Returns:
        In memory, the same splits with the columns `input_ids`, `attention_mask`, `labels` (lists of ids, not padded),
        `num_words` (split at white space), `num_bytes` (UTF-8), `length` (tokens of the longer side, or of the condition),
        with conditions `condition_input_ids`, then `keep_columns`.

    Raises:
        ValueError: a missing column, an empty data set, a text that is too long, or no text left under `max_length`.
    """
    if isinstance(dataset, DatasetDict):
        return DatasetDict(
            {
                split: _encode(rows, processor, text_column, max_length, max_positions, keep_columns, condition_column, split)
                for split, rows in dataset.items()
            }
        )
    return _encode(dataset, processor, text_column, max_length, max_positions, keep_columns, condition_column, "dataset")


def _encode(
    rows: Dataset,
    processor: LatentTextProcessor,
    text_column: str,
    max_length: int | None,
    max_positions: int | tuple[int | None, int | None] | None,
    keep_columns: Sequence[str],
    condition_column: str | None,
    name: str,
) -> Dataset:
    for column in (text_column, *([] if condition_column is None else [condition_column]), *keep_columns):
        if column not in rows.column_names:
            raise ValueError(f"{name} has no column {column!r}; its columns are {', '.join(rows.column_names)}.")
    texts = rows[text_column][:]
    if not texts:
        raise ValueError(f"{name} is empty: there is no text to encode.")
    input_ids: list[list[int]] = []
    labels: list[list[int]] = []
    for start in range(0, len(texts), ROWS_AT_ONCE):
        encoder_rows, label_rows = processor.tokenize(texts[start : start + ROWS_AT_ONCE])
        input_ids += encoder_rows
        labels += label_rows
    lengths = [max(len(ids), len(label_ids)) for ids, label_ids in zip(input_ids, labels, strict=True)]
    conditions: list[list[int]] = []
    if condition_column is not None:
        about = rows[condition_column][:]
        for start in range(0, len(about), ROWS_AT_ONCE):
            conditions += processor.tokenize_conditions(
                about[start : start + ROWS_AT_ONCE], f"{name}, {condition_column}", start
            )
        lengths = [max(length, len(ids)) for length, ids in zip(lengths, conditions, strict=True)]
    kept = [row for row, length in enumerate(lengths) if max_length is None or length <= max_length]
    if len(kept) < len(texts):
        logger.info("%s: %d of %d texts are longer than max_length=%d tokens and are left out.",
                    name, len(texts) - len(kept), len(texts), max_length)  # fmt: skip
    if not kept:
        raise ValueError(
            f"{name}: all {len(texts)} texts are longer than max_length={max_length} tokens (the shortest has "
            f"{min(lengths)}); raise max_length or give shorter texts."
        )
    check_positions(kept, input_ids, labels, max_positions, name)
    if conditions:
        encoder_positions = max_positions[0] if isinstance(max_positions, tuple) else max_positions
        check_positions(kept, conditions, labels, (encoder_positions, None), f"{name}, {condition_column}")
    columns = {
        "input_ids": [input_ids[row] for row in kept],
        "attention_mask": [[1] * len(input_ids[row]) for row in kept],
        "labels": [labels[row] for row in kept],
        "num_words": [len(texts[row].split()) for row in kept],
        "num_bytes": [len(texts[row].encode("utf-8")) for row in kept],
        "length": [lengths[row] for row in kept],
    }
    if conditions:
        columns["condition_input_ids"] = [conditions[row] for row in kept]
    for column in keep_columns:
        values = rows[column][:]
        columns[column] = [values[row] for row in kept]
    return Dataset.from_dict(columns)


def check_positions(
    kept: list[int],
    input_ids: list[list[int]],
    labels: list[list[int]],
    max_positions: int | tuple[int | None, int | None] | None,
    name: str,
) -> None:
    """Raise `ValueError` where one of the kept rows has more tokens than its side has positions for; see `encode_dataset`."""
    limits = max_positions if isinstance(max_positions, tuple) else (max_positions, max_positions)
    for side, ids, limit in zip(("encoder", "decoder"), (input_ids, labels), limits, strict=True):
        too_long = [] if limit is None else [row for row in kept if len(ids[row]) > limit]
        if too_long:
            raise ValueError(
                f"{name}: text {too_long[0]} has {len(ids[too_long[0]])} tokens, but the {side} has positions for "
                f"{limit} ({len(too_long)} of {len(kept)} texts are too long). Set max_length={limit} to leave such "
                "texts out, or use a model with more positions."
            )
