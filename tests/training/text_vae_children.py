"""Whole runs of `hf_lvm.training.text_vae.main` in a process of their own: to be killed, or to be one of two."""

import os
import signal

from transformers import TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS

from hf_lvm.training.text_vae import main


class KilledAfterSaving(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)


def train_and_be_killed(argv):
    DEFAULT_CALLBACKS.append(KilledAfterSaving)
    main(argv, "hf-lvm train")


def train_as_one_of_two(rank, port, argv):
    """What `torchrun --nproc_per_node 2` sets, and then `main`."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    main(argv, "hf-lvm train")
