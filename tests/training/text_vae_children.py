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


def train(argv):
    main(argv, "hf-lvm train")
