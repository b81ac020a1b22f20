"""Any transformers model as an encoder: built from its config, or loaded."""

from collections.abc import Iterable

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

from hf_lvm.backbones.sources import build_from_config, check_pretrained
from hf_lvm.layers.decoder_interface import num_positions


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new encoder from a config; of an encoder-decoder family, its encoder stack."""
    config = as_encoder_config(config)
    return _bare(build_from_config(_auto_class(config), config))


def load_encoder(source: str, **options) -> PreTrainedModel:
    """A pretrained encoder from a folder or a hub id.

    Args:
        options: keys of its config to change, or options of `from_pretrained`.
    """
    check_pretrained(source)
    config, unused = AutoConfig.from_pretrained(source, return_unused_kwargs=True, **options)
    unused.setdefault("use_safetensors", True)  # a pickle is loaded only where somebody says so
    config = as_encoder_config(config)
    return _bare(_auto_class(config).from_pretrained(source, config=config, **unused))


def encoder_part(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder of a model handed over whole: without a task's head, a pooler or a decoder.

    Raises:
        ValueError: an encoder-decoder model whose encoder is a model class of its own, such as T5.
    """
    if type(model.config) not in MODEL_MAPPING:
        return model
    wanted = _auto_class(model.config)._model_mapping[type(model.config)]
    bare = model if isinstance(model, wanted) else model.base_model
    if model.config.is_encoder_decoder and wanted.__name__.endswith("EncoderModel") and not isinstance(bare, wanted):
        raise ValueError(
            f"{type(model).__name__} is an encoder and a decoder: pass its encoder, "
            f"{wanted.__name__}.from_pretrained(...) of the same checkpoint."
        )
    return _bare(bare)


def as_encoder_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with which a family reads in both directions where it can."""
    if getattr(config, "is_decoder", False):
        config.is_decoder = False
        if hasattr(config, "add_cross_attention"):
            config.add_cross_attention = False
    return config


def encoder_positions(encoder: PreTrainedModel) -> int | None:
    """The longest input in tokens, or None where there is no limit."""
    return num_positions(encoder, encoder.config)


def check_positions(encoder: PreTrainedModel, lengths: Iterable[int], name: str = "row") -> None:
    """Raise a `ValueError` where the encoder has fewer positions than a sentence has tokens.

    Args:
        lengths: tokens of each sentence, special ones included.
        name: what a sentence is called.
    """
    room = encoder_positions(encoder)
    for row, length in enumerate(lengths):
        if room is not None and length > room:
            raise ValueError(
                f"{name} {row} has {length} tokens, and the encoder, a {encoder.config.model_type!r} model, has room for "
                f"{room}: leave it out (max_length), or choose an encoder with more positions."
            )


def encode_tokens(
    encoder: PreTrainedModel,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor,
    inputs_embeds: torch.Tensor | None = None,
) -> torch.Tensor:
    """States (B, S, H) of tokens (B, S), or of embeddings in their place (B, S, E), padded on the right.

    Raises:
        ValueError: a batch of no sentences, or of no tokens.
    """
    if attention_mask.numel() == 0:
        raise ValueError(f"The batch has shape {tuple(attention_mask.shape)}: give at least one sentence with one token.")
    inputs = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds.to(encoder.dtype)}
    return encoder(**inputs, attention_mask=attention_mask, return_dict=True).last_hidden_state


def _auto_class(config: PreTrainedConfig) -> type:
    # AutoModel of an encoder-decoder family is both stacks; text encoding is the encoder alone.
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _bare(model: PreTrainedModel) -> PreTrainedModel:
    """The model without the parts that encoding does not use, which would get no gradient."""
    if model.config.is_encoder_decoder and type(model.config) not in MODEL_FOR_TEXT_ENCODING_MAPPING:
        model = model.get_encoder()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model
