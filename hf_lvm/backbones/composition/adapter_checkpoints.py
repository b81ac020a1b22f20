"""Checkpoints without the weights that LoRA adapters leave alone: adapters, heads and injections, beside a named base.

A checkpoint of a 7B decoder with an adapter is some tens of MB instead of 13 GB. It names its bases and the hash of their
weights, so that it comes back bit-equal or not at all.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_lvm.backbones.adapters import is_of_adapter
from hf_lvm.backbones.decoders import load_decoder
from hf_lvm.backbones.encoders import load_encoder
from hf_lvm.layers.injections import injection_names


class AdapterCheckpoints:
    """Methods of a composed model whose config says `adapters_only`."""

    def base_tensors(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors of a part that its adapter leaves alone, by their names in the part; none without an adapter."""
        adapter = getattr(self.config, f"{part}_adapter")
        if adapter is None:
            return {}
        state = getattr(self, part).state_dict()
        return {name: value for name, value in state.items() if not is_of_adapter(name, adapter)}

    def save_pretrained(self, save_directory: str | os.PathLike, state_dict: dict[str, Any] | None = None, **kwargs):
        """Save the model, or what its bases do not have; see `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `adapters_only`, and no adapter or a base that could not be loaded again.
        """
        if self.config.adapters_only:
            if self.config.adapter_bases is None:
                self.config.adapter_bases = self._describe_bases()
            base = {f"{part}.{name}" for part in ("encoder", "decoder") for name in self.base_tensors(part)}
            state_dict = {k: v for k, v in (state_dict or self.state_dict()).items() if k not in base}
        return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)

    def _describe_bases(self) -> dict[str, dict[str, str]]:
        """The source, type and hash of the base of each part with an adapter."""
        if self.config.tie_encoder_decoder_embeddings:
            raise ValueError("adapters_only needs parts that share no weights: set tie_encoder_decoder_embeddings to false.")
        described = {}
        for part in ("encoder", "decoder"):
            if getattr(self.config, f"{part}_adapter") is None:
                continue
            config, source = getattr(self, part).config, getattr(self, part).name_or_path
            if not source:
                raise ValueError(
                    f"adapters_only leaves the weights of the {part} out, and this one came from no folder and no hub id: "
                    "load it by from_pretrained, or set adapters_only to false."
                )
            if "cross_attention" in injection_names(self.config.injection) and getattr(config, "add_cross_attention", False):
                raise ValueError(
                    f"The {part} was given layers for cross_attention that its base does not have: choose another injection, "
                    "or set adapters_only to false."
                )
            source = str(Path(source).resolve()) if Path(source).is_dir() else source
            tensors = self.base_tensors(part)
            dtype = str(getattr(self, part).dtype).removeprefix("torch.")
            described[part] = {"source": source, "dtype": dtype, "sha256": fingerprint(tensors)}
        if not described:
            raise ValueError("adapters_only is for a model with a LoRA adapter in a part; this one has none: leave it out.")
        return described

    def _take_bases(self) -> set[str]:
        """Load what the checkpoint left out; the names of all that was loaded.

        Raises:
            ValueError: a base has other weights than those the adapter was trained beside.
        """
        taken = set()
        for part, base in (self.config.adapter_bases or {}).items():
            loaded = self._load_base(part, base)
            own = self.base_tensors(part)
            state = loaded.state_dict()
            tensors = {name: state.get(name.replace(".base_layer.", ".")) for name in own}
            missing = [name for name, value in tensors.items() if value is None or value.shape != own[name].shape]
            if missing or fingerprint(tensors) != base["sha256"]:
                raise ValueError(
                    f"The {part} at {base['source']!r} has other weights than the one this adapter was trained beside: get "
                    "that version of it, and put it there or name its place in adapter_bases of config.json."
                )
            with torch.no_grad():
                for name, value in tensors.items():
                    own[name].copy_(value)
            taken |= {f"{part}.{name}" for name in own}
        return taken

    def _load_base(self, part: str, base: dict[str, str]) -> PreTrainedModel:
        load = load_encoder if part == "encoder" else load_decoder
        try:
            return load(base["source"], dtype=getattr(torch, base["dtype"]))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"This checkpoint holds adapters only, and its {part} could not be loaded from {base['source']!r}, where it "
                "was: put it there, or name its new place in adapter_bases of config.json."
            ) from error


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of the bytes of tensors, whose names may be those inside an adapter or those outside."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: name.replace(".base_layer.", ".")):
        value = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.replace(".base_layer.", ".").encode())
        digest.update(value.numpy())
    return digest.hexdigest()
