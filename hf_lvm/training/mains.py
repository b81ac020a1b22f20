"""Which `main` trains which model."""

import importlib
from collections.abc import Callable, Sequence

from hf_lvm.training.flat_yaml import read_flat_yaml

# model_type -> module with the `main` of its recipe
RECIPES = {
    "hf_lvm_text_vae": "hf_lvm.training.text_vae",
    "hf_lvm_task_and_talk": "hf_lvm.training.task_and_talk",
    "hf_lvm_latent_class": "hf_lvm.training.latent_class",
    "hf_lvm_neural_hmm": "hf_lvm.training.neural_hmm",
    "hf_lvm_neural_topic": "hf_lvm.training.neural_topic",
    "hf_lvm_latent_summarizer": "hf_lvm.training.latent_summarizer",
    "hf_lvm_referential_game": "hf_lvm.training.referential_game",
    "hf_lvm_struct_vae": "hf_lvm.training.struct_vae",
    "hf_lvm_urnng": "hf_lvm.training.urnng",
    "language_model": "hf_lvm.training.language_model",
}
DEFAULT = "hf_lvm_text_vae"


def main_of_recipe(argv: Sequence[str]) -> Callable:
    """The `main` for the `model_type` that a command line, or the file of its `--config`, names.

    Raises:
        ValueError: there is no recipe for that model type.
    """
    model_type = flag_value(argv, "--model_type")
    config = flag_value(argv, "--config")
    if model_type is None and config is not None:
        model_type, _ = read_flat_yaml(config).get("model_type", (None, 0))
    model_type = model_type or DEFAULT
    if not isinstance(model_type, str) or model_type not in RECIPES:
        raise ValueError(f"There is no recipe for model_type {model_type!r}: choose one of {', '.join(RECIPES)}.")
    return importlib.import_module(RECIPES[model_type]).main


def flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag on a command line, or None."""
    for index, token in enumerate(argv):
        if token == flag and index + 1 < len(argv):
            return argv[index + 1]
        if token.startswith(f"{flag}="):
            return token.partition("=")[2]
    return None
