"""Train a latent summarizer: compressions that must explain the texts they are of.

    accelerate launch recipes/train_latent_summarizer.py --config recipes/latent_summarizer/documentation.yaml

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_latent_summarizer` runs the
same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.latent_summarizer import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_latent_summarizer.py"))
