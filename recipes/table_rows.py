"""The rows of the tables of recipes/: which results a row is made of, and how they are written."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table_head(columns: Sequence[str]) -> list[str]:
    """The two rows that begin a Markdown table."""
    return [table_row(columns), "|" + "---|" * len(columns)]


def several(values: Sequence[float], digits: int) -> str:
    """One value for each seed as a cell: the value itself, or the mean followed by each of them."""
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return each if len(values) == 1 else f"{statistics.mean(values):.{digits}f} ({each})"


def several_or_one(values: Sequence[float], digits: int) -> str:
    """As `several`, but one value where all seeds have the same, as controls without a seed do."""
    return several(values[:1] if len({f"{value:.{digits}f}" for value in values}) == 1 else values, digits)


def read(file: Path) -> dict[str, Any]:
    """What a file of results holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def runs_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The runs of a recipe, `NAME.json` and `NAME_seed7.json` for further seeds, in the order of their seeds.

    Files of a recipe whose name only begins alike, and `NAME_seed7_others.json` with other corpora, are none of them.
    """
    files = [*folder.glob(f"{name}.json"), *folder.glob(f"{name}_seed*.json")]
    return sorted((read(file) for file in files if not file.stem.endswith("_others")), key=lambda run: run["settings"]["seed"])


def versions(run: dict[str, Any]) -> str:
    """The versions that a run was measured with."""
    return f"torch {run['versions']['torch']}, transformers {run['versions']['transformers']}"


def machine(run: dict[str, Any]) -> str:
    """What a run was measured on, and with which versions."""
    return f"{run['hardware']}; {versions(run)}"
