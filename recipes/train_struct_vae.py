"""Train a StructVAE: meanings of utterances as latent trees of a grammar, of which some are known.

    accelerate launch recipes/train_struct_vae.py --config recipes/struct_vae/atis_supervised.yaml --data_dir FOLDER

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_struct_vae` runs the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.struct_vae import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_struct_vae.py"))
