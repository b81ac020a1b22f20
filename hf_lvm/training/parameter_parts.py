"""The parts of a model that a run may train in their own way, by name."""

from collections.abc import Iterable
from typing import Any

from torch import nn

# Methods of models with two parts, and what the part that they list is called here.
_METHODS = {"encoder": "inference_parameters", "injection": "injection_parameters"}


def parameter_parts(model: nn.Module) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Names and parameters of each part that a model names.

    A model names parts by a method `parameter_parts()`, which returns a dictionary from the name of a part to its pairs
    (name, parameter). `inference_parameters()` names the part "encoder" and `injection_parameters()` the part "injection" of a
    model that does not name them there.
    """
    parts: dict[str, Iterable[Any]] = dict(model.parameter_parts()) if hasattr(model, "parameter_parts") else {}
    for part, method in _METHODS.items():
        if part not in parts and hasattr(model, method):
            parts[part] = getattr(model, method)()
    return {part: list(pairs) for part, pairs in parts.items()}


def trainable_parameters(model: nn.Module, part: str) -> list[nn.Parameter]:
    """The parameters of a part that are not frozen."""
    return [parameter for _, parameter in parameter_parts(model)[part] if parameter.requires_grad]
