"""Checkpoints without the weights that LoRA adapters leave alone: adapters, heads and injections, beside a named base.

A checkpoint of a 7B decoder with an adapter is some tens of MB instead of 13 GB. It names its bases and the hash of their
weights, so that it comes back bit-equal or not at all.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers import AutoQuantizationConfig

from hf_lvm.backbones.adapters import (
    adapter_config,
    add_adapter,
    cross_attention_names,
    freeze_beside_adapter,
    learned_names,
)
from hf_lvm.backbones.composition.adapter_bases import check_described, fingerprint, release, restore, tensors_of
from hf_lvm.backbones.composition.own_card import OwnCard
from hf_lvm.backbones.encoders import encoder_part, load_encoder
from hf_lvm.backbones.placement import check_placement, is_quantized
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.data.hub import is_hub_id


class AdapterCheckpoints(OwnCard, SafeLoading):
    """Methods of a model about LoRA adapters in its parts, and about checkpoints without these parts (`adapters_only`).

    A model says by `adapter_modules` which parts can have one; a part named `decoder` has its adapter's configuration in
    `config.decoder_adapter`.
    """

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        """Each part that can have an adapter, with the modules that it is; several where the model holds copies of it."""
        return {}

    def load_part(self, part: str, source: str, **options) -> PreTrainedModel:
        """A part as it was before it had an adapter, from a folder or a hub id."""
        return load_encoder(source, **options)

    def attention_learns(self, part: str) -> bool:
        """Whether layers of an adapted part that attend to another part learn beside its adapter: where they were new."""
        module = self.get_submodule(self.adapter_modules()[part][0])
        return not is_quantized(module) and bool(getattr(module.config, "add_cross_attention", False))

    # ---- building ----------------------------------------------------------------------------------------------------

    def take_adapted(self, part: str, module: PreTrainedModel) -> PreTrainedModel:
        """The encoder inside a part that `peft` may have wrapped; what its adapter is goes into the config.

        Raises:
            ValueError: see `adapter_config`.
        """
        module, adapter = adapter_config(module)
        if adapter is not None:
            setattr(self.config, f"{part}_adapter", adapter)
        return encoder_part(module)

    def build_adapters(self) -> None:
        """The adapters that the config names, inside parts that have none yet; new attention beside them learns.

        Raises:
            ImportError: `peft` is not installed.
        """
        for part, places in self.adapter_modules().items():
            adapter = getattr(self.config, f"{part}_adapter")
            for module in map(self.get_submodule, places if adapter is not None else ()):
                add_adapter(module, adapter)
                if self.attention_learns(part):
                    new = cross_attention_names(module)
                    for name, parameter in module.named_parameters():
                        if name in new:
                            parameter.requires_grad_(True)

    def post_init(self) -> None:
        """As transformers has it; and refuse a config that speaks of adapters where none can be, by a `ValueError`."""
        modules = self.adapter_modules()
        for key, value in vars(self.config).items():
            if key.endswith("_adapter") and value is not None and key.removesuffix("_adapter") not in modules:
                raise ValueError(f"{key} is set, and {self._which_can()}: leave it out.")
        if getattr(self.config, "adapters_only", False) and not modules:
            raise ValueError(f"adapters_only is set, and {self._which_can()}: leave it out.")
        super().post_init()

    def freeze_beside_adapters(self) -> None:
        """Of parts with an adapter, let only learn what learns beside it."""
        for part, places in self.adapter_modules().items():
            adapter = getattr(self.config, f"{part}_adapter")
            for module in map(self.get_submodule, places if adapter is not None else ()):
                freeze_beside_adapter(module, adapter, self.attention_learns(part))

    def _which_can(self) -> str:
        """Which parts of the model can have an adapter, for errors."""
        parts = list(self.adapter_modules())
        if not parts:
            return f"this {type(self).__name__} has no pretrained part that an adapter could be bound to"
        return f"of this {type(self).__name__} only {' and '.join(parts)} can have an adapter"

    # ---- saving ------------------------------------------------------------------------------------------------------

    def base_tensors(self, part: str, module: nn.Module | None = None) -> dict[str, torch.Tensor]:
        """The tensors of a part that are not learned, by their names in it: all that its adapter leaves alone.

        Of a quantized part without an adapter all; of another part without one none.
        """
        module = self.get_submodule(self.adapter_modules()[part][0]) if module is None else module
        adapter = getattr(self.config, f"{part}_adapter")
        if adapter is None:
            return module.state_dict() if is_quantized(module) else {}
        learned = learned_names(module, adapter, self.attention_learns(part))
        return {name: value for name, value in module.state_dict().items() if name not in learned}

    def save_pretrained(self, save_directory: str | os.PathLike, state_dict: dict[str, Any] | None = None, **kwargs):
        """Save the model, or what its bases do not have; see `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: `adapters_only`, and no adapter, a base that could not be loaded again, or one that learns; a quantized
                part without `adapters_only`.
        """
        modules = {part: [self.get_submodule(place) for place in places] for part, places in self.adapter_modules().items()}
        quantized = [part for part, copies in modules.items() if is_quantized(copies[0])]
        if not getattr(self.config, "adapters_only", False):
            if quantized:
                raise ValueError(
                    f"The {' and the '.join(quantized)} of this model is quantized, and only what is learned beside it can be "
                    "saved: set config.adapters_only = True."
                )
            return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
        if getattr(self.config, "adapter_bases", None) is None:
            self.config.adapter_bases = self.describe_bases()
        self._check_bases_are_frozen()
        base = {
            f"{place}.{name}"
            for part, places in self.adapter_modules().items()
            for place in places
            for name in self.base_tensors(part)
        }
        state_dict = {k: v for k, v in (state_dict or self.state_dict()).items() if k not in base}
        # Loading would quantize the whole model by the config of its part.
        hidden = {part: vars(modules[part][0].config).pop("quantization_config") for part in quantized}
        try:
            return super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)
        finally:
            for part, config in hidden.items():
                modules[part][0].config.quantization_config = config

    def describe_bases(self) -> dict[str, dict[str, Any]]:
        """The source, type and hash of each part that is not saved whole, and how it was quantized.

        Raises:
            ValueError: no such part, or one that could not be loaded again.
        """
        if not self.adapter_modules():
            raise ValueError(f"adapters_only is set, and {self._which_can()}: leave it out.")
        if getattr(self.config, "tie_encoder_decoder_embeddings", False):
            raise ValueError("adapters_only needs parts that share no weights: set tie_encoder_decoder_embeddings to false.")
        described = {}
        for part, places in self.adapter_modules().items():
            module = self.get_submodule(places[0])
            quantized = is_quantized(module)
            if getattr(self.config, f"{part}_adapter") is None and not quantized:
                continue
            source = module.name_or_path
            if not source:
                raise ValueError(
                    f"adapters_only leaves the weights of the {part} out, and this one came from no folder and no hub id: "
                    "load it by from_pretrained, or set adapters_only to false."
                )
            if quantized and (places != (part,) or getattr(module.config, "add_cross_attention", False)):
                raise ValueError(
                    f"The {part} is quantized, and stands here with layers that its base does not have, or more than once: "
                    "load it without quantization_config, or set adapters_only to false."
                )
            hashes = {fingerprint(self._compared(part, self.get_submodule(place))) for place in places}
            if len(hashes) > 1:
                raise ValueError(f"{' and '.join(places)} have one base, and other weights: set adapters_only to false.")
            described[part] = {
                "source": str(Path(source).resolve()) if Path(source).is_dir() else source,
                "dtype": str(module.dtype).removeprefix("torch."),
                "sha256": hashes.pop(),
            }
            if quantized:
                described[part]["quantization_config"] = module.config.quantization_config.to_diff_dict()
        if not described:
            raise ValueError("adapters_only is for a model with a LoRA adapter in a part; this one has none: leave it out.")
        return described

    def _check_bases_are_frozen(self) -> None:
        """Raise a `ValueError` where a weight that is left out learns: what it has learned would be lost."""
        for part, places in self.adapter_modules().items():
            for place in places:
                left_out, module = self.base_tensors(part), self.get_submodule(place)
                learns = [name for name, value in module.named_parameters() if value.requires_grad and name in left_out]
                if learns:
                    raise ValueError(
                        f"adapters_only leaves the weights of the {part} out, and {len(learns)} of them learn, such as "
                        f"{learns[0]!r}: freeze them (requires_grad_(False)), or set adapters_only to false."
                    )

    def _compared(self, part: str, module: nn.Module) -> dict[str, torch.Tensor]:
        """The tensors by which a base is known again: of a quantized one those that are not, for devices round differently."""
        tensors = self.base_tensors(part, module)
        if not is_quantized(module):
            return tensors
        return {name: value for name, value in module.named_parameters() if name in tensors and value.is_floating_point()}

    # ---- loading -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """A saved model; see `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: weights are missing from the checkpoint, which would be left as they happen to be initialised; or
                `device_map` splits the model.
        """
        model, loading_info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        check_placement("model", model)
        if getattr(model.config, "adapters_only", False):
            name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
            model, taken = model.with_bases(is_local=name is None or Path(name).is_dir())
            loading_info["missing_keys"] = set(loading_info["missing_keys"]) - taken
        check_whole(loading_info)
        model.freeze_beside_adapters()
        return (model, loading_info) if output_loading_info else model

    def with_bases(self, is_local: bool = True) -> tuple["AdapterCheckpoints", set[str]]:
        """The model with what its checkpoint left out, loaded from where it was; and the names of all that this was.

        What the model has in their place is given up before the first base is loaded, and the tensors of the base are taken
        over and not copied, so that there is never more than one copy of them in the memory.

        Args:
            is_local: the checkpoint is a folder of this machine; one of the hub may name bases on the hub alone.

        Raises:
            ValueError: the config describes no base, or one that may not be named; a base is not there, or has other weights
                than those the adapter was trained beside.
        """
        bases, modules = self.config.adapter_bases or {}, self.adapter_modules()
        for part, base in bases.items():
            check_described(part, base, modules)
            if not is_local and not is_hub_id(base["source"]):
                raise ValueError(
                    f"This checkpoint is one of the hub, and its config takes the {part} from {base['source']!r}, which is no "
                    "hub id: nothing of this machine is read for it. Its author can name a hub id in adapter_bases."
                )
        taken: set[str] = set()
        places = {}
        for part, base in bases.items():
            for place in modules[part]:
                module = self.get_submodule(place)
                whole = getattr(self.config, f"{part}_adapter") is None and "quantization_config" in base
                names = set(module.state_dict() if whole else self.base_tensors(part, module))
                taken |= {f"{place}.{name}" for name in names}
                places[place] = release(tensors_of(module, names))
        quantized = {}
        for part, base in bases.items():
            loaded = self._load_base(part, base)
            if is_quantized(loaded):
                quantized[part] = loaded
                continue
            state = loaded.state_dict()
            for number, place in enumerate(modules[part]):
                found = {name: state.get(name.replace(".base_layer.", ".")) for name in places[place]}
                self._check_same(part, base, found, {name: room.shape for name, room in places[place].items()})
                restore(tensors_of(self.get_submodule(place), set(found)), found, places[place], copies=number > 0)
        return (self._with_quantized(quantized, taken) if quantized else self), taken

    def _with_quantized(self, quantized: dict[str, PreTrainedModel], taken: set[str]) -> "AdapterCheckpoints":
        """The model built anew around quantized parts."""
        learned = {name: value for name, value in self.state_dict().items() if name not in taken}
        # Beside a quantized part the other one is the module of its name, for only such models have quantized parts.
        plain = {part: getattr(self, part) for part in ("encoder", "decoder") if hasattr(self, part)}
        model = type(self)(self.config, **(plain | quantized)).eval()
        model.generation_config = self.generation_config
        model.load_state_dict(learned, strict=False)
        for part in quantized:
            own, state = model._compared(part, model.get_submodule(part)), quantized[part].state_dict()
            found = {name: state.get(name.replace(".base_layer.", ".")) for name in own}
            self._check_same(part, self.config.adapter_bases[part], found, {name: own[name].shape for name in own})
        return model

    @staticmethod
    def _check_same(
        part: str, base: dict[str, Any], found: dict[str, torch.Tensor | None], shapes: dict[str, torch.Size]
    ) -> None:
        """Raise a `ValueError` unless the tensors found in a base are those that the adapter was trained beside."""
        missing = [name for name, value in found.items() if value is None or value.shape != shapes[name]]
        if missing or fingerprint(found) != base["sha256"]:
            raise ValueError(
                f"The {part} at {base['source']!r} has other weights than the one this adapter was trained beside: get "
                "that version of it, and put it there or name its place in adapter_bases of config.json."
            )

    def _load_base(self, part: str, base: dict[str, Any]) -> PreTrainedModel:
        options = {}
        if "quantization_config" in base:
            options["quantization_config"] = AutoQuantizationConfig.from_dict(base["quantization_config"])
        try:
            model = self.load_part(part, base["source"], dtype=getattr(torch, base["dtype"]), **options)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"This checkpoint holds adapters only, and its {part} could not be loaded from {base['source']!r}, where it "
                "was: put it there, or name its new place in adapter_bases of config.json."
            ) from error
        return model.requires_grad_(False) if options else model


def check_whole(loading_info: dict[str, Any]) -> None:
    """Raise a `ValueError` where a checkpoint lacks weights of the model, by what `from_pretrained` says of the loading."""
    missing = sorted(loading_info["missing_keys"])
    if missing:
        raise ValueError(
            f"The checkpoint lacks {len(missing)} of this model's tensors, the first is {missing[0]!r}: it is not whole, "
            "or was saved from a model with other settings. Load it with the config it was saved with."
        )
