"""A causal decoder of transformers that writes a sentence and its tree, by attention masks that compose.

| file | holds |
|---|---|
| `configuration_transformer_grammar_decoder.py` | its keys |
| `families.py` | which decoders can be masked that way, and why others cannot |
| `sequences.py` | known trees as sequences: what is read where, what each position sees |
| `stacks.py` | trees step by step: a cache that drops what was reduced |
| `checks.py` | trees and words that fit each other |
| `modeling_transformer_grammar_decoder.py` | the model |
"""

from hf_lvm.backbones.transformer_grammar_decoder.configuration_transformer_grammar_decoder import (
    TransformerGrammarDecoderConfig,
)
from hf_lvm.backbones.transformer_grammar_decoder.modeling_transformer_grammar_decoder import TransformerGrammarDecoderModel

__all__ = ["TransformerGrammarDecoderConfig", "TransformerGrammarDecoderModel"]
