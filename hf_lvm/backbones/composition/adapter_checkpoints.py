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
from transformers.quantizers import AutoQuantizationConfig

from hf_lvm.backbones.adapters import is_of_adapter
from hf_lvm.backbones.decoders import load_decoder
from hf_lvm.backbones.encoders import load_encoder
from hf_lvm.backbones.placement import is_quantized
from hf_lvm.data.hub import is_hub_id
from hf_lvm.layers.injections import injection_names

PARTS = ("encoder", "decoder")


class AdapterCheckpoints:
    """Methods of a composed model whose config says `adapters_only`."""

    def base_tensors(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors of a part that are not learned, by their names in it: all that its adapter leaves alone.

        Of a quantized part without an adapter all; of another part without one none.
        """
        adapter, module = getattr(self.config, f"{part}_adapter"), getattr(self, part)
        if adapter is None:
            return module.state_dict() if is_quantized(module) else {}
        return {name: value for name, value in module.state_dict().items() if not is_of_adapter(name, adapter)}

    def save_pretrained(self, save_directory: str | os.PathLike, state_dict: dict[str, Any] | None = None, **kwargs):
        """Save the model, or what its bases do not have; see `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `adapters_only`, and no adapter or a base that could not be loaded again; a quantized part without it.
        """
        quantized = [part for part in PARTS if is_quantized(getattr(self, part))]
        if not self.config.adapters_only:
            if quantized:
                raise ValueError(
                    f"The {' and the '.join(quantized)} of this model is quantized, and only what is learned beside it can be "
                    "saved: set config.adapters_only = True."
                )
            return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
        if self.config.adapter_bases is None:
            self.config.adapter_bases = self.describe_bases()
        base = {f"{part}.{name}" for part in PARTS for name in self.base_tensors(part)}
        state_dict = {k: v for k, v in (state_dict or self.state_dict()).items() if k not in base}
        # Loading would quantize the whole model by the config of its part.
        hidden = {part: vars(getattr(self, part).config).pop("quantization_config") for part in quantized}
        try:
            return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
        finally:
            for part, config in hidden.items():
                getattr(self, part).config.quantization_config = config

    def describe_bases(self) -> dict[str, dict[str, Any]]:
        """The source, type and hash of each part that is not saved whole, and how it was quantized.

        Raises:
            ValueError: no such part, or one that could not be loaded again.
        """
        if self.config.tie_encoder_decoder_embeddings:
            raise ValueError("adapters_only needs parts that share no weights: set tie_encoder_decoder_embeddings to false.")
        described = {}
        for part in PARTS:
            module = getattr(self, part)
            if getattr(self.config, f"{part}_adapter") is None and not is_quantized(module):
                continue
            source = module.name_or_path
            if not source:
                raise ValueError(
                    f"adapters_only leaves the weights of the {part} out, and this one came from no folder and no hub id: "
                    "load it by from_pretrained, or set adapters_only to false."
                )
            if "cross_attention" in injection_names(self.config.injection) and getattr(
                module.config, "add_cross_attention", False
            ):
                raise ValueError(
                    f"The {part} was given layers for cross_attention that its base does not have: choose another injection, "
                    "or set adapters_only to false."
                )
            described[part] = {
                "source": str(Path(source).resolve()) if Path(source).is_dir() else source,
                "dtype": str(module.dtype).removeprefix("torch."),
                "sha256": fingerprint(self._compared(part)),
            }
            if is_quantized(module):
                described[part]["quantization_config"] = module.config.quantization_config.to_diff_dict()
        if not described:
            raise ValueError("adapters_only is for a model with a LoRA adapter in a part; this one has none: leave it out.")
        return described

    def _compared(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors by which a base is known again: of a quantized one those that are not, for devices round differently."""
        tensors = self.base_tensors(part)
        if not is_quantized(getattr(self, part)):
            return tensors
        return {name: value for name, value in getattr(self, part).named_parameters()
                if name in tensors and value.is_floating_point()}  # fmt: skip

    def with_bases(self, is_local: bool = True) -> tuple["AdapterCheckpoints", set[str]]:
        """The model with what its checkpoint left out, loaded from where it was; and the names of all that this was.

        Args:
            is_local: the checkpoint is a folder of this machine; one of the hub may name bases on the hub alone.

        Raises:
            ValueError: the config describes no base, or one that may not be named; a base is not there, or has other weights
                than those the adapter was trained beside.
        """
        bases = self.config.adapter_bases or {}
        for part, base in bases.items():
            _check_described(part, base)
            if not is_local and not is_hub_id(base["source"]):
                raise ValueError(
                    f"This checkpoint is one of the hub, and its config takes the {part} from {base['source']!r}, which is no "
                    "hub id: nothing of this machine is read for it. Its author can name a hub id in adapter_bases."
                )
        loaded = {part: self._load_base(part, base) for part, base in bases.items()}
        taken = {f"{part}.{name}" for part in bases for name in self._left_out(part, loaded[part])}
        model, learned = self, {name: value for name, value in self.state_dict().items() if name not in taken}
        if any(is_quantized(part) for part in loaded.values()):
            parts = {part: loaded[part] if is_quantized(loaded.get(part)) else getattr(self, part) for part in PARTS}
            model = type(self)(self.config, **parts).eval()
            model.generation_config = self.generation_config
            model.load_state_dict(learned, strict=False)
        for part, base in bases.items():
            own, state = model._compared(part), loaded[part].state_dict()
            tensors = {name: state.get(name.replace(".base_layer.", ".")) for name in own}
            missing = [name for name, value in tensors.items() if value is None or value.shape != own[name].shape]
            if missing or fingerprint(tensors) != base["sha256"]:
                raise ValueError(
                    f"The {part} at {base['source']!r} has other weights than the one this adapter was trained beside: get "
                    "that version of it, and put it there or name its place in adapter_bases of config.json."
                )
            if not is_quantized(loaded[part]):
                with torch.no_grad():
                    for name, value in tensors.items():
                        own[name].copy_(value)
        return model, taken

    def _left_out(self, part: str, loaded: PreTrainedModel) -> set[str]:
        """Names of a part's tensors that its checkpoint does not have."""
        if getattr(self.config, f"{part}_adapter") is None and is_quantized(loaded):
            return set(getattr(self, part).state_dict())
        return set(self.base_tensors(part))

    def _load_base(self, part: str, base: dict[str, str]) -> PreTrainedModel:
        load = load_encoder if part == "encoder" else load_decoder
        options = {}
        if "quantization_config" in base:
            options["quantization_config"] = AutoQuantizationConfig.from_dict(base["quantization_config"])
        try:
            model = load(base["source"], dtype=getattr(torch, base["dtype"]), **options)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"This checkpoint holds adapters only, and its {part} could not be loaded from {base['source']!r}, where it "
                "was: put it there, or name its new place in adapter_bases of config.json."
            ) from error
        return model.requires_grad_(False) if options else model


def _check_described(part: str, base: Any) -> None:
    """Raise a `ValueError` for what is no description of a base, as `save_pretrained` writes it."""
    if part in PARTS and isinstance(base, dict):
        words = [base.get(key) for key in ("source", "dtype", "sha256")]
        if all(isinstance(word, str) for word in words) and isinstance(getattr(torch, base["dtype"], None), torch.dtype):
            return
    raise ValueError(
        f"adapter_bases of config.json has {part!r}: {base!r}, and needs for encoder or decoder the words source, dtype (such "
        "as float32) and sha256: save the model again."
    )


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of the bytes of tensors, whose names may be those inside an adapter or those outside."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: name.replace(".base_layer.", ".")):
        value = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.replace(".base_layer.", ".").encode())
        digest.update(value.numpy())
    return digest.hexdigest()
