"""Any transformers model that can generate as a decoder: built from its config, or loaded."""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from hf_lvm.backbones.sources import build_from_config, check_pretrained
from hf_lvm.backbones.t5_decoder import T5DecoderConfig, T5DecoderForCausalLM
from hf_lvm.layers.decoder_interface import num_positions


def build_decoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new decoder from a config prepared by `as_decoder_config`."""
    return build_from_config(AutoModelForCausalLM, config)


def load_decoder(source: str, cross_attention: bool = False, **options) -> PreTrainedModel:
    """A pretrained decoder from a folder or a hub id.

    Args:
        cross_attention: give the decoder layers that attend to states, new ones where its checkpoint has none.
        options: keys of its config to change, or options of `from_pretrained`.

    Raises:
        ValueError: no pretrained model, or a family without a causal language model.
    """
    check_pretrained(source)
    config, unused = AutoConfig.from_pretrained(source, return_unused_kwargs=True, **options)
    unused.setdefault("use_safetensors", True)  # a pickle is loaded only where somebody says so
    if _is_t5(config):
        whole = T5ForConditionalGeneration.from_pretrained(source, config=config, **unused)
        return T5DecoderForCausalLM.from_t5(whole)
    config = as_decoder_config(config, cross_attention)
    return AutoModelForCausalLM.from_pretrained(source, config=config, **unused)


def decoder_part(model: PreTrainedModel) -> PreTrainedModel:
    """The decoder of a model handed over whole: itself, or the decoder of an encoder-decoder T5.

    Raises:
        ValueError: a model that cannot generate.
    """
    if isinstance(model, T5ForConditionalGeneration):
        return T5DecoderForCausalLM.from_t5(model)
    if type(model.config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not model.can_generate():
        raise ValueError(
            f"{type(model).__name__} cannot generate, so it is no decoder: pass a causal language model, such as "
            "AutoModelForCausalLM.from_pretrained(...)."
        )
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"{type(model).__name__} is an encoder and a decoder: pass its decoder, "
            "AutoModelForCausalLM.from_pretrained(...) of the same checkpoint."
        )
    return model


def as_decoder_config(
    config: PreTrainedConfig, cross_attention: bool = False, condition_size: int | None = None
) -> PreTrainedConfig:
    """The config with which a family reads from left to right, with the stack sizes of its decoder.

    Args:
        cross_attention: give it layers that attend to states, if it can have some.
        condition_size: size of what it concatenates to its embeddings, for a family that can; None leaves it as it is.

    Raises:
        ValueError: a family without a causal language model.
    """
    if _is_t5(config):
        return T5DecoderConfig.from_t5(config)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"A {config.model_type!r} model cannot be a decoder, because transformers has no causal language model for "
            "it: choose a family such as 'gpt2', 'llama', 'qwen3', 'opt', 'gpt_neox', 'bart' or 't5'."
        )
    if hasattr(config, "is_decoder"):
        config.is_decoder = True
    config.is_encoder_decoder = False
    if cross_attention and hasattr(config, "add_cross_attention"):
        config.add_cross_attention = True
    if condition_size is not None and hasattr(config, "condition_size"):
        config.condition_size = condition_size
    if hasattr(config, "decoder_layers"):
        # The encoder is not built; caches are made from the number of layers that its count stands for.
        config.encoder_layers = config.decoder_layers
        config.encoder_attention_heads = config.decoder_attention_heads
    return config


def decoder_positions(decoder: PreTrainedModel) -> int | None:
    """The most positions the decoder has, or None where there is no limit."""
    return num_positions(decoder, decoder.config.get_text_config(decoder=True))


def start_token(config: PreTrainedConfig) -> int | None:
    """The id a decoder begins with: its start token, else its BOS, else (as in T5) its padding token."""
    for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        value = getattr(config, key, None)
        if isinstance(value, int):
            return value
    return None


def _is_t5(config: PreTrainedConfig) -> bool:
    return isinstance(config, T5Config) and not isinstance(config, T5DecoderConfig)
