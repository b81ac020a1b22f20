"""Train a neural hidden Markov model: states of words, found without labels, by the exact likelihood.

    accelerate launch recipes/train_neural_hmm.py --config recipes/neural_hmm/documentation.yaml

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_neural_hmm` runs the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.neural_hmm import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_neural_hmm.py"))
