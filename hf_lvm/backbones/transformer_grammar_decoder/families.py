"""Which decoders of transformers can be told, position by position, what to see and where they stand.

A composition mask is a tensor of queries by keys, and it is sound only where the model takes it as it is, takes the positions
that it is given, and gets everything else from its keys and values. Then a sequence read in another order, its masks and
positions with it, gives the same states, and so does one read in two parts with a cache. That is how the families below were
found, by running both kinds of attention.
"""

from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from hf_lvm.layers.context_window import MASKED_ATTENTION

SOUND_FAMILIES = (
    "gpt2",
    "llama",
    "opt",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "mistral",
    "olmo",
    "olmo2",
    "phi",
    "stablelm",
    "starcoder2",
)

_POSITIONS_OF_ITS_OWN = "it counts positions by the order of the tokens, whatever it is told"
_OTHER_MEMORY = "it remembers by other means than attention, which no mask reaches"
_REASONS = {
    "bart": _POSITIONS_OF_ITS_OWN,
    "bert": "its head is more than one matrix",
    "bloom": "it computes its distances from a mask of two dimensions",
    "cohere": "it scales its logits outside its head",
    "granite": "it scales its logits outside its head",
    "hf_lvm_dilated_cnn_decoder": _OTHER_MEMORY,
    "hf_lvm_lstm_decoder": _OTHER_MEMORY,
    "hf_lvm_t5_decoder": _POSITIONS_OF_ITS_OWN,
    "mamba": _OTHER_MEMORY,
    "mpt": _POSITIONS_OF_ITS_OWN,
}
# RoPE whose frequencies depend on the longest sentence of the batch, which keys in a cache do not know of.
_MOVING_FREQUENCIES = ("dynamic", "longrope")


def check_family(config: PreTrainedConfig) -> None:
    """Raise a `ValueError`, with the reason, for the config of a decoder that composition masks are not sound for."""
    reason = _reason_against(config)
    if reason:
        raise ValueError(
            f"A {config.model_type!r} decoder cannot write trees by composition masks: {reason}. The families that can are "
            f"{', '.join(map(repr, SOUND_FAMILIES))}."
        )


def check_attention(decoder: PreTrainedModel) -> None:
    """Raise a `ValueError` for a decoder switched to attention that takes no mask of queries by keys."""
    implementation = decoder.config._attn_implementation
    if implementation not in MASKED_ATTENTION:
        raise ValueError(
            f"Composition masks are of queries by keys, which {implementation!r} attention does not take: load the model with "
            f"attn_implementation {' or '.join(map(repr, MASKED_ATTENTION))}."
        )


def _reason_against(config: PreTrainedConfig) -> str | None:
    family = config.model_type
    if family not in SOUND_FAMILIES:
        return _REASONS.get(family, "nobody has made sure that it takes such masks and positions as they are")
    if getattr(config, "add_cross_attention", False):
        return "it was built with cross-attention, and there is nothing to attend to"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return "its sliding window would drop what is still on the stack (set sliding_window to None)"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in _MOVING_FREQUENCIES:
        return f"the frequencies of its {rope['rope_type']!r} positions change with the length of the batch"
    return None
