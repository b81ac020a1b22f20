"""The `README.md` of a run: written when the run ends, and before a trainer pushes to the hub."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers import Trainer

from hf_lvm.cards import write_card
from hf_lvm.cards.kinds import FACTS, KINDS
from hf_lvm.cards.run_card import CARD_NAME, card_of_folder, is_own, model_card
from hf_lvm.data.run_results import RESULTS_NAME, read_results
from hf_lvm.training.results import changed_settings, run_description

logger = logging.getLogger(__name__)


def write_run_card(folder: str | Path, **options: Any) -> None:
    """Write the card of a finished run; one that somebody wrote or edited stays, with a warning.

    Args:
        options: of `hf_lvm.cards.model_card`.
    """
    _write(model_card(folder, **options), folder)


def address_card(folder: str | Path, model_id: str) -> None:
    """Let the code of a card name a hub id instead of the folder; a card that somebody wrote or edited stays as it is.

    Licence, language and tags that the card was given before are kept.
    """
    card = Path(folder) / CARD_NAME
    if (
        not card.exists()
        or not (Path(folder) / RESULTS_NAME).exists()
        or not is_own(card.read_text(encoding="utf-8", errors="replace"))
    ):
        return
    given = ModelCard.load(card).data
    options = {"language": given.language, "license": given.license, "tags": given.tags or ()}
    write_card(model_card(folder, model_id=model_id, **options), folder)


def write_trainer_card(
    trainer: Trainer, language: str | None = None, license: str | None = None, tags: Any = None, dataset: Any = None
) -> None:
    """Write a card of what a trainer knows, into its `output_dir`; the whole one where `results.json` of this run is there.

    Args:
        trainer: of a model that has a card, see `has_card`.
        language, license, tags: see `hf_lvm.cards.card_from_results`.
        dataset: name of the data, or several.
    """
    folder, state, args = Path(trainer.args.output_dir), trainer.state, trainer.args
    options = {
        "language": language[0] if isinstance(language, list) else language,
        "license": license,
        "tags": [tags] if isinstance(tags, str) else list(tags or ()),
    }
    if (folder / RESULTS_NAME).exists() and state.global_step in (0, read_results(folder).get("steps")):
        write_run_card(folder, **options)
        return
    config = trainer.accelerator.unwrap_model(trainer.model).config.to_dict()
    settings = {key: config[key] for key in FACTS if key in config and not isinstance(config[key], dict)}
    settings |= {key: config[key] for key in ("attribute_sizes",) if config.get(key)} | changed_settings(args)
    settings |= {"model_type": card_type(trainer), "objects": config.get("object_type")}
    seconds = sum(entry.get("train_runtime", 0.0) for entry in state.log_history)
    results = run_description([""], settings, seconds) | {
        "command": None,
        "corpus": ", ".join([dataset] if isinstance(dataset, str) else dataset) if dataset else None,
        "steps": state.global_step,
        "epochs": state.epoch or 0.0,
    }
    _write(card_of_folder(folder, results, args.hub_model_id, **options), folder)


def card_type(trainer: Trainer) -> str:
    """The `model_type` by which the model of a trainer has its card."""
    return getattr(trainer, "card_model_type", None) or trainer.accelerator.unwrap_model(trainer.model).config.model_type


def has_card(trainer: Trainer) -> bool:
    """Whether there is a card for the model of a trainer."""
    return card_type(trainer) in KINDS


def _write(card: Any, folder: str | Path) -> None:
    try:
        write_card(card, folder)
    except FileExistsError as error:
        logger.warning("%s of `hf-lvm card`.", error)
