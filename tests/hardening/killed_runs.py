"""Whole runs of recipes in a process of their own, to be killed at any moment."""

from hf_lvm.training import text_vae, urnng

MAINS = {"text_vae": text_vae.main, "urnng": urnng.main}


def train(name, argv):
    """What `hf-lvm train` does with a command line."""
    MAINS[name](argv, "hf-lvm train")
