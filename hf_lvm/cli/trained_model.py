"""Loading a trained model and its processor for the commands that use one."""

import argparse
from pathlib import Path

from transformers import AutoModel, AutoProcessor
from transformers.utils import logging

from hf_lvm.data import check_hub_repository, is_hub_id


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--model` and what every command on a trained model takes."""
    parser.add_argument("--model", required=True, help="folder of a trained model (output_dir of a run), or a hub id")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw (default: 0)")


def load_trained(name: str):
    """The model, in evaluation mode, and its processor.

    Raises:
        FileNotFoundError: no such folder, or no model in it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        name = str(path)
        if not (path / "config.json").exists():
            raise FileNotFoundError(f"{name} holds no config.json, so it is no trained model: give the output_dir of a run")
    elif is_hub_id(name):
        check_hub_repository(name)
    else:
        raise FileNotFoundError(f"there is no folder {name!r}: give the output_dir of a run, or a hub id (owner/name)")
    logging.disable_progress_bar()
    return AutoModel.from_pretrained(name).eval(), AutoProcessor.from_pretrained(name)
