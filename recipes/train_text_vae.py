"""Train a text VAE (Bowman et al. 2015) over any encoder and any decoder.

    accelerate launch recipes/train_text_vae.py --config recipes/text_vae/tiny_cpu.yaml
    accelerate launch --config_file recipes/accelerate_configs/two_gpus.yaml recipes/train_text_vae.py --config ...

Flags override the YAML file; `--help` lists the keys. `hf-lvm train` takes the same ones and runs the same code.
"""

import sys

from hf_lvm.cli.main import exit_status
from hf_lvm.training.text_vae import main

if __name__ == "__main__":
    sys.exit(exit_status(main, prog="train_text_vae.py"))
