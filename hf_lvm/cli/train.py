"""`hf-lvm train`: train the model that the config names."""

from collections.abc import Sequence

from hf_lvm.training.mains import main_of_recipe


def main(argv: Sequence[str], prog: str) -> None:
    """Train by a YAML file and flags, the same as `accelerate launch recipes/train_*.py`."""
    main_of_recipe(argv)(argv, prog)
