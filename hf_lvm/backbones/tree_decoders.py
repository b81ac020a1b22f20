"""Which models can be the generative decoder of sentences with trees: built from their configs, or loaded."""

from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from hf_lvm.backbones.decoders import decoder_part, load_decoder
from hf_lvm.backbones.rnng_decoder import RNNGDecoderConfig, RNNGDecoderModel
from hf_lvm.backbones.sources import build_from_config
from hf_lvm.backbones.transformer_grammar_decoder import TransformerGrammarDecoderConfig, TransformerGrammarDecoderModel

CONFIGS = (RNNGDecoderConfig, TransformerGrammarDecoderConfig)
MODELS = (RNNGDecoderModel, TransformerGrammarDecoderModel)


def as_tree_decoder_config(config: PreTrainedConfig, **keys) -> PreTrainedConfig:
    """The config of a tree decoder: itself, or around that of a causal language model.

    Args:
        keys: of the config made around a language model.

    Raises:
        ValueError: a family that cannot write trees; the reason is said.
    """
    return config if isinstance(config, CONFIGS) else TransformerGrammarDecoderConfig(decoder=config, **keys)


def build_tree_decoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new tree decoder from a config prepared by `as_tree_decoder_config`."""
    return build_from_config(AutoModel, config)


def as_tree_decoder(model: PreTrainedModel, **keys) -> PreTrainedModel:
    """A tree decoder: itself, or one around a causal language model.

    Args:
        keys: of the config made around a language model.
    """
    if isinstance(model, MODELS):
        return model
    decoder = decoder_part(model)
    return TransformerGrammarDecoderModel(TransformerGrammarDecoderConfig(decoder=decoder.config, **keys), decoder=decoder)


def load_tree_decoder(source: str, **options) -> PreTrainedModel:
    """A pretrained causal language model from a folder or a hub id, made a tree decoder."""
    return as_tree_decoder(load_decoder(source, **options))
