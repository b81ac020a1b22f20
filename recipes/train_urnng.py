"""Train an unsupervised recurrent neural network grammar: sentences with binary trees that nobody has drawn.

    accelerate launch recipes/train_urnng.py --config recipes/urnng/synthetic_grammar.yaml

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_urnng` runs the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.urnng import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_urnng.py"))
