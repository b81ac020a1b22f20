"""Load texts to train on from anywhere: the built-in corpus, local files and folders, or the hub, by one option."""

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetNotFoundError

from hf_lvm.data import documentation, synthetic_grammar
from hf_lvm.data.hub import check_hub_repository, is_hub_id
from hf_lvm.data.splits import SPLITS, check_fractions, split_dataset
from hf_lvm.data.text_files import FILE_TYPES, read_file, split_files, split_named

logger = logging.getLogger(__name__)

BUILT_IN = "documentation"
# Names of the built-in corpora, and the kind of rows of the documentation that each is.
BUILT_IN_KINDS = {
    BUILT_IN: "sentences",
    "documentation_documents": "documents",
    "documentation_summaries": "summaries",
    "documentation_signatures": "signatures",
}


def load_texts(
    dataset: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    text_column: str = "text",
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    min_words: int | None = None,
    max_words: int | None = None,
    config_name: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    condition_column: str | None = None,
) -> DatasetDict:
    """Load texts with the splits `train`, `validation` and `test`.

    A source that has its splits keeps them. What is missing is cut from the training texts by a hash of each text:
    deterministic, independent of the order, and equal texts always land in the same split. Duplicates are kept. Rows
    whose text is empty are left out; a log line counts them. Every other column is kept, under its name.

    Args:
        dataset (`str`, *optional*):
            `None` or `"documentation"`: the sentences of the built-in documentation corpus; `"documentation_documents"`:
            its whole docstrings; `"documentation_summaries"`: (body, summary) pairs, columns `text` and `summary`;
            `"documentation_signatures"`: (summary, signature) pairs of functions, columns `text` and `signature`.
            `"synthetic_grammar"`, or with `"_left"` or `"_right"` behind it: 6,000 sentences of a small
            grammar with gold trees in the column `tree` ([`hf_lvm.data.synthetic_grammar`]). A file (txt with one text a line,
            jsonl, json, csv, tsv, parquet) or a folder of such files. Anything else with one "/" is a dataset id on the hub;
            naming one is the only way to make this function use the network.
        data_dir (`str`, *optional*):
            A folder with files named train, valid(ation) or dev, and test. Instead of `dataset`.
        text_column (`str`, *optional*, defaults to `"text"`):
            The column that holds the texts; it is named `text` in the result.
        validation_fraction, test_fraction (`float`, *optional*, defaults to 0.05):
            The share of the training texts that becomes a missing validation or test split.
        min_words, max_words (`int`, *optional*):
            Leave out texts with fewer / more words (split at white space); a log line counts them.
        config_name (`str`, *optional*):
            Which configuration of a hub dataset, for those that have several; of a folder, only files with this name before
            the split, as in `lambda.train.jsonl`.
        cache_dir (`str`, *optional*):
            Where downloads from the hub are kept; the folder of `datasets` by default.
        condition_column (`str`, *optional*):
            The column with the text that a conditional model reads beside each text; it is named `condition` in the result.
            Rows where it is empty are left out; a log line counts them.

    Raises:
        FileNotFoundError: no such file, folder or hub dataset.
        ConnectionError: the hub does not answer.
        ValueError: unknown file type, missing column, texts that are no strings, a split without any text; one column for
            texts and conditions.
    """
    check_fractions(validation_fraction, test_fraction)
    if condition_column == text_column:
        raise ValueError(
            f"text_column and condition_column are both {text_column!r}: a text that is its own condition says nothing."
        )
    sources, name = read_sources(dataset, data_dir, text_column, config_name, cache_dir)
    for split, rows in sources.items():
        source = f"{name} ({split})"
        if condition_column is None:
            sources[split] = name_columns(rows, {"text": text_column}, source)
        else:
            named = name_columns(rows, {"text": text_column, "condition": condition_column}, source)
            sources[split] = _with_conditions(named, split)
    return complete_texts(sources, validation_fraction, test_fraction, min_words, max_words, name)


def read_sources(
    dataset: str | os.PathLike | None,
    data_dir: str | os.PathLike | None,
    text_column: str,
    config_name: str | None,
    cache_dir: str | os.PathLike | None,
) -> tuple[dict[str, Dataset], str]:
    """The splits of a source as they are, and its name; see `load_texts`.

    Args:
        text_column: What the column of a txt file is called.
    """
    if dataset is not None and data_dir is not None:
        raise ValueError(f"Both dataset={str(dataset)!r} and data_dir={str(data_dir)!r} are given; name one of them.")
    name = str(dataset if data_dir is None else data_dir) if dataset or data_dir else BUILT_IN
    path = Path(name).expanduser()
    if data_dir is not None and not path.is_dir():
        raise FileNotFoundError(f"data_dir={name!r} is not a folder.{_similar_names(path)}")
    if path.is_dir():
        sources = {split: read_file(file, text_column) for split, file in split_files(path, config_name).items()}
    elif path.is_file():
        sources = {"train": read_file(path, text_column)}
    elif name in BUILT_IN_KINDS:
        sources = dict(documentation.load(BUILT_IN_KINDS[name]))
    elif name in synthetic_grammar.NAMES:
        sources = dict(synthetic_grammar.load(synthetic_grammar.NAMES[name]))
    elif is_hub_id(name) and path.suffix.lower() not in FILE_TYPES:
        sources = _load_from_hub(name, config_name, cache_dir)
    else:
        raise FileNotFoundError(_not_found(name, path))
    return sources, name


def complete_texts(
    sources: dict[str, Dataset],
    validation_fraction: float,
    test_fraction: float,
    min_words: int | None,
    max_words: int | None,
    name: str,
) -> DatasetDict:
    """Rows with a column `text`, without empty texts and those of other lengths, in three splits; see `load_texts`."""
    kept = {split: _keep_texts(rows, min_words, max_words, split) for split, rows in sources.items()}
    return _complete_splits(kept, validation_fraction, test_fraction, name)


def _load_from_hub(name: str, config_name: str | None, cache_dir: str | os.PathLike | None) -> dict[str, Dataset]:
    check_hub_repository(name, kind="dataset")
    try:
        loaded = load_dataset(name, config_name, cache_dir=None if cache_dir is None else str(cache_dir))
    except DatasetNotFoundError as error:
        raise FileNotFoundError(f"The dataset {name!r} could not be loaded from the hub: {error}") from error
    except ConnectionError as error:
        raise ConnectionError(
            f"The dataset {name!r} could not be had: {error}. In offline mode (HF_HUB_OFFLINE=1) only datasets that "
            "were loaded before are there; a local path needs no hub."
        ) from error
    if len(loaded) == 1:
        return {"train": next(iter(loaded.values()))}
    splits: dict[str, Dataset] = {}
    for split in loaded:
        standard = split_named(split)
        if standard is None or standard in splits:
            logger.warning("The split %r of %s is not used.", split, name)
        else:
            splits[standard] = loaded[split]
    if "train" not in splits:
        raise ValueError(f"The dataset {name!r} has no split to train on; its splits are {', '.join(loaded)}.")
    return splits


def _not_found(name: str, path: Path) -> str:
    if len(path.parts) > 1 or path.suffix.lower() in FILE_TYPES:
        return f"There is no file or folder {name!r} (looked from {Path.cwd()}).{_similar_names(path)}"
    return (
        f"The dataset {name!r} is neither a file or folder here nor a built-in corpus. Use {BUILT_IN!r}, 'synthetic_grammar', "
        f"a path to a file ({', '.join(FILE_TYPES)}) or folder, or a hub id written as owner/name.{_similar_names(path)}"
    )


def _similar_names(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" The folder {str(folder)!r} does not exist either."
    names = sorted(entry.name for entry in folder.iterdir())
    built_in = [*BUILT_IN_KINDS, *synthetic_grammar.NAMES] if str(folder) == "." else []
    near = difflib.get_close_matches(path.name, [*names, *built_in], cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def name_columns(rows: Dataset, columns: Mapping[str, str], source: str) -> Dataset:
    """Rename columns of strings, all at once; another column that has such a name already is called `..._unused`.

    Args:
        columns: "text", "tree", "condition" and the like -> the column that is read as it. The option that chooses the
            column is called by it too, such as `text_column`. The columns may have each other's names.
        source: What to call the rows in an error.

    Raises:
        ValueError: no such column, one that holds no strings, or one column under two names.
    """
    for name, column in columns.items():
        if column not in rows.column_names:
            raise ValueError(
                f"{source} has no column {column!r}; its columns are {', '.join(rows.column_names) or '(none)'}. "
                f"Name one of them with {name}_column."
            )
        kind = rows.features[column]
        if getattr(kind, "dtype", None) not in ("string", "large_string", "null"):
            raise ValueError(f"The column {column!r} of {source} holds {kind}, not strings.")
    names = {column: name for name, column in columns.items()}
    if len(names) < len(columns):
        options = " and ".join(f"{name}_column={column!r}" for name, column in columns.items())
        raise ValueError(f"{source}: {options} name one column twice; choose a column of its own for each.")
    for name, column in columns.items():
        if name in rows.column_names and name not in names:
            logger.warning(
                "%s: its column %r is renamed '%s_unused', because %r is read as %s.", source, name, name, column, name
            )
            names[name] = f"{name}_unused"
    changed = {column: name for column, name in names.items() if column != name}
    return rows.rename_columns(changed) if changed else rows


def _with_conditions(rows: Dataset, split: str) -> Dataset:
    """The rows that have one."""
    kept = [row for row, condition in enumerate(rows["condition"][:]) if condition and condition.strip()]
    if len(kept) == len(rows):
        return rows
    logger.info("%s: %d texts without a condition are left out.", split, len(rows) - len(kept))
    return rows.select(kept)


def _keep_texts(rows: Dataset, min_words: int | None, max_words: int | None, split: str) -> Dataset:
    counts = [len((text or "").split()) for text in rows["text"][:]]
    most = float("inf") if max_words is None else max_words
    kept = [row for row, words in enumerate(counts) if words and (min_words or 0) <= words <= most]
    empty = counts.count(0)
    if empty:
        logger.info("%s: %d empty texts are left out.", split, empty)
    if len(counts) - empty > len(kept):
        logger.info(
            "%s: %d of %d texts have fewer than min_words=%s or more than max_words=%s words and are left out.",
            split, len(counts) - empty - len(kept), len(counts) - empty, min_words, max_words,
        )  # fmt: skip
    return rows if len(kept) == len(counts) else rows.select(kept)


def _complete_splits(sources: dict[str, Dataset], validation_fraction: float, test_fraction: float, name: str) -> DatasetDict:
    """Cut the splits that are missing from the training texts, and refuse a split that ends up empty."""
    cut_validation = 0.0 if "validation" in sources else validation_fraction
    cut_test = 0.0 if "test" in sources else test_fraction
    before = len(sources["train"])
    if cut_validation or cut_test:
        parts = split_dataset(sources["train"], sources["train"]["text"][:], cut_validation, cut_test)
        parts.update({split: rows for split, rows in sources.items() if split != "train"})
        sources = dict(parts)
        logger.info("%s: split by hash into %s.", name, {split: len(rows) for split, rows in sources.items()})
    for split, rows in sources.items():
        if not len(rows):
            raise ValueError(
                f"{name}: the split {split!r} holds no text, once empty ones and those outside min_words and "
                f"max_words are left out (there are {before} texts to train on and to cut splits from). "
                "Give more texts, another range of words, or a larger validation_fraction or test_fraction."
            )
    return DatasetDict({split: sources[split] for split in SPLITS})
