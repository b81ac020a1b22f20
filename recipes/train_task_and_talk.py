"""Train bots that talk about objects, many runs side by side: Task & Talk of Kottur et al. (2017).

    accelerate launch recipes/train_task_and_talk.py --config recipes/task_and_talk/minimal.yaml --seed 1

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` with `model_type: hf_lvm_task_and_talk` runs the same
code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.task_and_talk import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_task_and_talk.py"))
