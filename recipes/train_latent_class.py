"""Train a latent class model: first choose a class, then write. With known classes of some texts, of all, or of none.

    accelerate launch recipes/train_latent_class.py --dataset reviews.csv --class_column stars --num_labelled 100

Flags override the YAML file of `--config`; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_latent_class` runs
the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.latent_class import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_latent_class.py"))
