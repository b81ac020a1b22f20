"""Train a language model, the line that text VAEs are read against: a decoder without a latent.

    accelerate launch recipes/train_language_model.py --config recipes/text_vae/ptb_language_model.yaml --data_dir path/to/ptb

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: language_model` runs the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.language_model import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_language_model.py"))
