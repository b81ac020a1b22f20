"""The weights beside an adapter: how they are described, known again, and taken over from where they are."""

import hashlib
from collections.abc import Collection
from typing import Any

import torch
from torch import nn


def check_described(part: str, base: Any, parts: Collection[str]) -> None:
    """Raise a `ValueError` for what is no description of a base, as `save_pretrained` writes it.

    Args:
        parts: those that can have one.
    """
    if part in parts and isinstance(base, dict):
        words = [base.get(key) for key in ("source", "dtype", "sha256")]
        if all(isinstance(word, str) for word in words) and isinstance(getattr(torch, base["dtype"], None), torch.dtype):
            return
    raise ValueError(
        f"adapter_bases of config.json has {part!r}: {base!r}, and needs for {' or '.join(parts) or 'no part'} the words "
        "source, dtype (such as float32) and sha256: save the model again."
    )


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of the bytes of tensors, whose names may be those inside an adapter or those outside."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: name.replace(".base_layer.", ".")):
        value = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.replace(".base_layer.", ".").encode())
        digest.update(value.numpy())
    return digest.hexdigest()


def tensors_of(module: nn.Module, names: Collection[str]) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a module that have these names, themselves and not what they hold."""
    every = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    return {name: every[name] for name in names}


def release(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give up the memory of tensors, in place; returns what has their shapes, types and devices and takes no memory."""
    room = {name: value.data.new_empty(()).expand(value.shape) for name, value in tensors.items()}
    for value in tensors.values():
        value.data = value.data.new_empty(0)
    return room


def restore(
    tensors: dict[str, torch.Tensor],
    values: dict[str, torch.Tensor],
    room: dict[str, torch.Tensor],
    copies: bool = False,
) -> None:
    """Fill tensors that were given up, in place, by values that are taken over where type and device are right already.

    Args:
        room: what `release` returned.
        copies: make a copy of each value instead.
    """
    for name, tensor in tensors.items():
        tensor.data = values[name].detach().to(room[name], copy=copies)
