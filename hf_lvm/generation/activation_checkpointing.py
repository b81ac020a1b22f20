"""Activation checkpointing beside a cache: layers that are recomputed write none, so it is switched off for a while."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


def recomputing_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of a model that activation checkpointing can be switched on for, whether it is or not."""
    return [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]


@contextmanager
def keeping_activations(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switches activation checkpointing of these modules off inside the `with`, and back to what it was afterwards.

    What is computed inside keeps its activations; gradients are the same.
    """
    recomputing = [module for module in modules if module.gradient_checkpointing]
    for module in recomputing:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in recomputing:
            module.gradient_checkpointing = True
