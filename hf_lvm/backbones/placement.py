"""Parts in 4 or 8 bits, and parts on several devices: what may be done with them."""

from torch import nn
from transformers import PreTrainedModel


def is_quantized(part: nn.Module) -> bool:
    """Whether the weights of a part were brought to 4 or 8 bits when it was loaded (`quantization_config`)."""
    return getattr(part, "hf_quantizer", None) is not None or bool(getattr(part, "is_quantized", False))


def check_quantized(name: str, part: PreTrainedModel) -> None:
    """Raise a `ValueError` for a quantized part whose own weights would be trained."""
    if not is_quantized(part):
        return
    learned = [key for key, parameter in part.named_parameters() if parameter.requires_grad and "lora_" not in key]
    if learned:
        raise ValueError(
            f"The {name} is quantized, so its own weights cannot be trained, but {len(learned)} of them would be, such as "
            f"{learned[0]!r}: give it a LoRA adapter (peft.get_peft_model), or freeze it ({name}.requires_grad_(False))."
        )


def check_placement(name: str, model: nn.Module) -> None:
    """Raise a `ValueError` for a model that `device_map` has split over devices, or put on the disk in part."""
    places = sorted({str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()})
    if len(places) > 1 or "disk" in places:
        raise ValueError(
            f"device_map has put the {name} on {' and '.join(places)}, but here weights of several modules are used together, "
            "on one device: give it one place, such as device_map={'': 0} or 'cpu', load it in fewer bits "
            "(dtype=torch.bfloat16), or train it sharded (recipes/accelerate_configs/fsdp2.yaml)."
        )
