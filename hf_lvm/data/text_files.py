"""Read texts from local files: txt (one text a line), jsonl, json, csv, tsv and parquet."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet
from datasets import Dataset

from hf_lvm.data.splits import SPLITS

FILE_TYPES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
# What a file or a split may be called, as in `datasets`.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def read_file(path: Path, text_column: str = "text") -> Dataset:
    """Read one file into memory, every column of it.

    A txt file gives the single column `text_column`, one row a line, empty lines included.

    Raises:
        ValueError: for a file type that is not known, or content that does not fit it; the message names the file.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".txt":
            return Dataset.from_dict({text_column: _read_lines(path)})
        if suffix == ".parquet":
            return Dataset(pyarrow.parquet.read_table(path))
        if suffix in (".json", ".jsonl"):
            return Dataset(_read_json(path))
        if suffix in (".csv", ".tsv"):
            return Dataset(_read_csv(path))
    except (pyarrow.ArrowException, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} could not be read as {suffix}: {str(error).splitlines()[0]}") from error
    raise ValueError(f"Unknown file type {path.suffix or '(none)'!r} of {path}; known are {', '.join(FILE_TYPES)}.")


def _read_lines(path: Path) -> list[str]:
    # str.splitlines would also cut at form feeds and Unicode separators inside a text.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _read_csv(path: Path) -> pyarrow.Table:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
    )


def _read_json(path: Path) -> pyarrow.Table:
    content = path.read_text(encoding="utf-8-sig")
    if content.lstrip().startswith("["):
        rows = json.loads(content)
    else:
        rows = [_parse_line(line, number, path) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(
                f'{path}: entry {number} is {type(row).__name__}, not an object with named columns such as {{"text": "..."}}.'
            )
    columns = dict.fromkeys(name for row in rows for name in row)
    return pyarrow.table({name: [row.get(name) for row in rows] for name in columns})


def _parse_line(line: str, number: int, path: Path) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number} is not JSON: {error}") from error


def split_named(name: str) -> str | None:
    """The split that a file or split name stands for: "dev" is validation, "resplit_train" is train; or `None`."""
    words = set(name.lower().replace("-", "_").replace(".", "_").split("_"))
    found = [split for split, names in SPLIT_NAMES.items() if words & set(names)]
    return found[0] if len(found) == 1 else None


def split_files(folder: Path, config_name: str | None = None) -> dict[str, Path]:
    """The files of a folder by split: those named train, valid(ation)/dev and test, with a known ending.

    A folder with a single file of a known type gives that file as `train`.

    Args:
        config_name: only the files with this name before the split, as in `lambda.train.jsonl`: for folders that hold several
            data sets.

    Raises:
        ValueError: when the folder has no such file, or several for one split.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in FILE_TYPES)
    if config_name is not None and files:
        named = [path for path in files if path.name.startswith(f"{config_name}.")]
        if not named:
            raise ValueError(f"{folder} has no file named {config_name}.*; the files there: {_names(files)}.")
        files = named
    if not files:
        raise ValueError(f"{folder} holds no file that could be read; known types are {', '.join(FILE_TYPES)}.")
    if len(files) == 1:
        return {"train": files[0]}
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for path in files:
        split = split_named(path.stem)
        if split is not None:
            found[split].append(path)
    for split, paths in found.items():
        exact = [path for path in paths if path.stem.lower() in SPLIT_NAMES[split]]
        paths[:] = exact if len(exact) == 1 else paths
        if len(paths) > 1:
            raise ValueError(
                f"{folder} has {len(paths)} files for the split {split!r}: {_names(paths)}. Name one file with "
                "dataset=..., those of one data set with config_name=..., or keep one file for each of train, validation and "
                "test in the folder."
            )
    if not found["train"]:
        raise ValueError(f"{folder} has no file for training (one named train.*); the files there: {_names(files)}.")
    return {split: paths[0] for split, paths in found.items() if paths}


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)
