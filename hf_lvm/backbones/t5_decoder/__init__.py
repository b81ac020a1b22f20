"""The T5 decoder on its own, as a causal language model."""

from hf_lvm.backbones.t5_decoder.configuration_t5_decoder import T5DecoderConfig
from hf_lvm.backbones.t5_decoder.modeling_t5_decoder import T5DecoderForCausalLM

__all__ = ["T5DecoderConfig", "T5DecoderForCausalLM"]
