"""A language model that sees one word back."""

from hf_lvm.backbones.bigram_decoder.configuration_bigram_decoder import BigramDecoderConfig
from hf_lvm.backbones.bigram_decoder.modeling_bigram_decoder import BigramDecoderModel

__all__ = ["BigramDecoderConfig", "BigramDecoderModel"]
