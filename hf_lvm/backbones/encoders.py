"""Any transformers model as an encoder: built from its config, or loaded."""

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from hf_lvm.backbones.sources import check_exists

# Families whose positions begin after the padding id, so that they hold that many tokens fewer.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "longformer", "data2vec-text", "xlm-roberta-xl", "roberta-prelayernorm"}


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new encoder from a config; of an encoder-decoder family, its encoder stack."""
    config = as_encoder_config(config)
    return _bare(_auto_class(config).from_config(config))


def load_encoder(source: str, **options) -> PreTrainedModel:
    """A pretrained encoder from a folder or a hub id.

    Args:
        options: keys of its config to change, or options of `from_pretrained`.
    """
    check_exists(source)
    config, unused = AutoConfig.from_pretrained(source, return_unused_kwargs=True, **options)
    config = as_encoder_config(config)
    return _bare(_auto_class(config).from_pretrained(source, config=config, **unused))


def as_encoder_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with which a family reads in both directions where it can."""
    if getattr(config, "is_decoder", False):
        config.is_decoder = False
        if hasattr(config, "add_cross_attention"):
            config.add_cross_attention = False
    return config


def encoder_positions(encoder: PreTrainedModel) -> int | None:
    """The longest input in tokens, or None where there is no limit."""
    config = encoder.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _OFFSET_POSITIONS:
        positions -= config.pad_token_id + 1
    return positions if positions and positions > 0 else None


def encode_tokens(encoder: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """States (B, S, H) of tokens (B, S) padded on the right."""
    return encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True).last_hidden_state


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
