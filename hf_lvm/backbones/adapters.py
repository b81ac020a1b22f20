"""LoRA adapters of `peft` inside a part: taken over with the part, saved with the model, built again when it is loaded."""

import enum
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import is_peft_available

_NAME = "default"
# Modules that attend to the states of a source, as the families of transformers call them, and their norms.
_CROSS_ATTENTION = re.compile(r"cross_?att|encoder_att|encdecatt", re.IGNORECASE)


def adapter_config(part: PreTrainedModel | nn.Module) -> tuple[PreTrainedModel, dict[str, Any] | None]:
    """A part and the configuration of its LoRA adapter: the model inside a `PeftModel`, or the model itself and None.

    Raises:
        ValueError: an adapter that is no LoRA, several adapters, or one that also copies whole modules.
    """
    configs = getattr(part, "peft_config", None)
    if not is_peft_available() or not configs:
        return part, None
    if list(configs) != [_NAME]:
        raise ValueError(f"A part may carry one adapter named {_NAME!r}; this one has {', '.join(map(repr, configs))}.")
    config = configs[_NAME]
    if config.peft_type != "LORA" or config.modules_to_save:
        raise ValueError(
            "A part may carry a LoRA adapter without modules_to_save; merge any other adapter first "
            "(model.merge_and_unload())."
        )
    base = part.get_base_model() if hasattr(part, "get_base_model") else part
    keep_adapter_weights(base)
    return base, _plain(config.to_dict())


def add_adapter(part: PreTrainedModel, config: dict[str, Any] | None) -> None:
    """Put a LoRA adapter into a part and freeze the rest of it; nothing where it has one already, or `config` is None.

    Raises:
        ImportError: `peft` is not installed.
    """
    if config is None or any("lora_" in name for name, _ in part.named_parameters()):
        return
    if not is_peft_available():
        raise ImportError("This model has a LoRA adapter inside: pip install 'hf-lvm[peft]'.")
    from peft import LoraConfig, inject_adapter_in_model

    options = {key: value for key, value in config.items() if key not in ("peft_type", "auto_mapping", "peft_version")}
    inject_adapter_in_model(LoraConfig(**options), part, adapter_name=_NAME)
    keep_adapter_weights(part)


def keep_adapter_weights(part: PreTrainedModel) -> None:
    """Let the model that a part goes into leave its adapter as it is: a new one begins with no effect, which `post_init` of
    transformers would undo, and one that was trained would be lost."""
    for name, module in part.named_modules():
        if "lora_" in name:
            module._is_hf_initialized = True
            for parameter in module.parameters(recurse=False):
                parameter._is_hf_initialized = True


def refuse_adapter(name: str, part: nn.Module | Any) -> None:
    """Raise a `ValueError` for a part that has an adapter of `peft` and stands where a model keeps none."""
    if getattr(part, "peft_config", None):
        raise ValueError(
            f"The {name} has an adapter of peft, and this model keeps none there: merge it first (model.merge_and_unload())."
        )


def freeze_beside_adapter(part: PreTrainedModel, config: dict[str, Any] | None, attention_learns: bool = False) -> None:
    """Freeze all of a part that its adapter leaves alone: `from_pretrained` makes each weight it loads trainable again.

    Args:
        attention_learns: see `learned_names`.
    """
    if config is None:
        return
    learned = learned_names(part, config, attention_learns)
    for name, parameter in part.named_parameters():
        parameter.requires_grad_(name in learned)


def learned_names(part: nn.Module, config: dict[str, Any], attention_learns: bool = False) -> set[str]:
    """Names of a part's tensors that are learned beside its frozen weights: those of its adapter, and biases if it says so.

    Args:
        attention_learns: also the layers that attend to the states of another part, which its base was not trained with.
    """
    names = set(part.state_dict())
    learned = {name for name in names if is_of_adapter(name, config)}
    return learned | (names & cross_attention_names(part) if attention_learns else set())


def cross_attention_names(part: nn.Module) -> set[str]:
    """Names of a part's parameters in layers that attend to the states of another part."""
    found = set()
    for name, module in part.named_modules():
        if _CROSS_ATTENTION.search(name) or _CROSS_ATTENTION.search(type(module).__name__):
            found |= {each for each, _ in module.named_parameters(prefix=name)}
    return found


def is_of_adapter(name: str, config: dict[str, Any]) -> bool:
    """Whether a parameter of this name is learned with the adapter: its own matrices, and biases if the config says so."""
    biases = {"none": (), "all": ("bias",), "lora_only": ("base_layer.bias",)}[config.get("bias", "none")]
    return "lora_" in name or name.endswith(biases)


@contextmanager
def without_adapter(part: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """A part as it was before it had an adapter, and without dropout; as it is now again afterwards."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [each for each in part.modules() if isinstance(each, BaseTunerLayer) and not each.disable_adapters]
    learns = [parameter.requires_grad for parameter in part.parameters()]
    modes = [module.training for module in part.modules()]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield part.eval()
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for module, mode in zip(part.modules(), modes, strict=True):
            module.training = mode
        # Which peft sets, too.
        for parameter, own in zip(part.parameters(), learns, strict=True):
            parameter.requires_grad_(own)


def check_adapter_leaves_base(config: dict[str, Any] | None) -> None:
    """Raise a `ValueError` unless a part has an adapter without which it is what it was before."""
    if config is None:
        raise ValueError(
            "The prior is the compressor without its adapter, and it has none: give the compressor a LoRA adapter of peft "
            "(get_peft_model, or compressor_adapter)."
        )
    touched = [key for key in ("trainable_token_indices", "layer_replication") if config.get(key)]
    if config.get("bias", "none") != "none":
        touched.append("bias")
    if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
        touched.append("init_lora_weights")
    if touched:
        raise ValueError(
            f"The prior is the compressor without its adapter, and {', '.join(touched)} of this adapter changes the weights "
            "beside it: leave that out."
        )


def _plain(value: Any) -> Any:
    """The value with nothing in it that JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (set, tuple, list)):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set) else value)]
    return value.value if isinstance(value, enum.Enum) else value
