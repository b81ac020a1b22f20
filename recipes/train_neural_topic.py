"""Train a neural topic model: what documents are about, found without labels.

    accelerate launch recipes/train_neural_topic.py --config recipes/neural_topic/documentation.yaml

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_neural_topic` runs the same.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.neural_topic import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_neural_topic.py"))
