"""Train a referential game: two agents that invent a language to talk about objects.

    accelerate launch recipes/train_referential_game.py --config recipes/referential_game/attributes.yaml --output_dir RUN

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_referential_game` runs the same
code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.referential_game import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_referential_game.py"))
