"""The card of a run's folder: read from its files, written as its README.md, never over what somebody wrote by hand."""

import hashlib
import json
import math
import re
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hf_lvm.cards.card import card_from_results, figures_of
from hf_lvm.data.run_results import RESULTS_NAME, read_results

CARD_NAME = "README.md"
_MARK = "<!-- Made by hf-lvm ({digest}). A card that is edited is not overwritten. -->\n"
_MARKED = re.compile(r"<!-- Made by hf-lvm \(([0-9a-f]{16})\)\. A card that is edited is not overwritten\. -->\n\Z")
# As the template of the card writes them.
_FIGURE = re.compile(r"\n!\[[^\]\n]*\]\((?P<path>figures/[^)\n]+)\)\n")
_NO_FIGURES = re.compile(r"\n\n## Figures\n(?=\n\n## )")


def model_card(run_folder: str | Path, *, model_id: str | None = None, **options: Any) -> ModelCard:
    """The card of a finished run.

    Args:
        run_folder: `output_dir` of a run, with its `results.json`; `config.json`, weights and `figures/` are told where they
            are there.
        model_id: hub id under which it will stand; by default `hub_model_id` of the run, else the folder.
        options: `language`, `license` and `tags` of [`card_from_results`].

    Raises:
        FileNotFoundError: no such folder, or no results in it.
        ValueError: results that cannot be read, of another layout, or of a model without a card; a config or weights that
            are damaged.
    """
    folder = Path(run_folder)
    results = read_results(folder)
    settings = results.get("settings")
    hub_id = settings.get("hub_model_id") if isinstance(settings, Mapping) else None
    return card_of_folder(folder, results, model_id or hub_id, **options)


def card_of_folder(folder: Path, results: Mapping[str, Any], model_id: str | None = None, **options: Any) -> ModelCard:
    """The card of a folder with the results that are given instead of those that stand in it."""
    config, num_parameters = _read_config(folder / "config.json"), count_parameters(folder / "model.safetensors")
    try:
        return card_from_results(
            results,
            name=model_id or folder.as_posix(),
            model_name=(model_id or folder.resolve().as_posix()).rsplit("/", 1)[-1],
            config=config,
            figures=figures_of(folder),
            num_parameters=num_parameters,
            **options,
        )
    except ValueError as error:
        raise ValueError(f"{folder / RESULTS_NAME}: {error}") from error


def _read_config(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): restore the file that the run wrote") from error


def count_parameters(weights: Path) -> int | None:
    """How many numbers a safetensors file holds, from its header alone; None where there is no such file.

    Raises:
        ValueError: the file has no such header.
    """
    if not weights.exists():
        return None
    try:
        with weights.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, weights.stat().st_size)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{weights} is no whole safetensors file: train again, or restore the file that the run wrote"
        ) from error


def write_card(card: ModelCard, folder: str | Path, overwrite: bool = False) -> Path:
    """Write a card as README.md of a folder, whole or not at all.

    Args:
        overwrite: replace a README.md that was written or edited by hand.

    Returns:
        its path.

    Raises:
        FileExistsError: there is a README.md that this function has not written, or that was edited since.
    """
    path = Path(folder) / CARD_NAME
    if path.exists() and not overwrite and not is_own(path.read_text(encoding="utf-8", errors="replace")):
        raise FileExistsError(f"{path} was written or edited by hand and is left as it is: overwrite it with --overwrite")
    # Not `.incomplete-`, which a trainer takes for the folder of a save that was stopped.
    staged = path.with_name(f".unfinished-{CARD_NAME}")
    staged.write_text(marked(str(card)), encoding="utf-8")
    staged.replace(path)
    return path


def marked(text: str) -> str:
    """The text of a card with the line that tells whether it was edited."""
    text = text.rstrip("\n") + "\n\n"
    return text + _MARK.format(digest=_digest(text))


def is_own(text: str) -> bool:
    """Whether a card is as `write_card` left it."""
    found = _MARKED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def with_figures(text: str, files: Collection[str]) -> str:
    """The text of a card without the figures that are not among the files beside it; one that was edited as it is.

    Args:
        files: paths relative to the card.
    """
    if not is_own(text):
        return text
    shown = _FIGURE.sub(lambda figure: figure[0] if figure["path"] in files else "", _MARKED.sub("", text))
    return marked(_NO_FIGURES.sub("", shown))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
