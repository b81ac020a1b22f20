"""A recurrent neural network grammar that writes a sentence and its tree."""

from hf_lvm.backbones.rnng_decoder.configuration_rnng_decoder import RNNGDecoderConfig
from hf_lvm.backbones.rnng_decoder.modeling_rnng_decoder import RNNGDecoderModel

__all__ = ["RNNGDecoderConfig", "RNNGDecoderModel"]
