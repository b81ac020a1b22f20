"""Dilated causal convolutions that write a sentence."""

from hf_lvm.backbones.dilated_cnn_decoder.configuration_dilated_cnn_decoder import DilatedCNNDecoderConfig
from hf_lvm.backbones.dilated_cnn_decoder.modeling_dilated_cnn_decoder import DilatedCNNDecoderModel

__all__ = ["DilatedCNNDecoderConfig", "DilatedCNNDecoderModel"]
