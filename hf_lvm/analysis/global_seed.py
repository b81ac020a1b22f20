"""Draws from torch's global generators that can be repeated and leave no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Inside a `with` the global generators of the CPU and of a CUDA device begin at a seed; after it they are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
