"""Configuration of the transformer grammar."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.composition.configuration import own_config
from hf_lvm.backbones.decoders import as_decoder_config
from hf_lvm.backbones.transformer_grammar_decoder.families import check_family

POSITIONS = ("depth", "order")


@strict
class TransformerGrammarDecoderConfig(PreTrainedConfig):
    """What a `TransformerGrammarDecoderModel` is made of.

    Args:
        decoder: config of a causal language model, or a dict with its `model_type`; see
            `hf_lvm.backbones.transformer_grammar_decoder.families` for those that can be.
        subwords: whether a word may be several pieces.
        positions: `depth`, where a position's number is that of its place on the stack, so that it does not depend on what was
            reduced and only a deep stack needs many; or `order`, where everything that was read counts.
        pad_token_id, bos_token_id, eos_token_id: taken from the decoder's config where they are not given. Every sequence
            begins with the second; the third ends a sentence, and can follow a single constituent only.

    Raises:
        ValueError: a family whose masks are not sound, or tokens that are not there.
    """

    model_type = "hf_lvm_transformer_grammar_decoder"
    sub_configs = {"decoder": AutoConfig}

    decoder: PreTrainedConfig | dict | None = None
    subwords: bool = False
    positions: str = "depth"
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    @property
    def vocab_size(self) -> int:
        """Pieces."""
        return self.decoder.vocab_size

    @property
    def hidden_size(self) -> int:
        """Of the decoder's states."""
        return self.decoder.hidden_size

    def __post_init__(self, **kwargs):
        self.decoder = as_decoder_config(own_config(self.decoder, default="gpt2"))
        super().__post_init__(**kwargs)
        check_family(self.decoder)
        if self.positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(map(repr, POSITIONS))}, but is {self.positions!r}.")
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, key) is None:
                setattr(self, key, getattr(self.decoder, key, None))
        for key in ("bos_token_id", "eos_token_id"):
            token = getattr(self, key)
            if not isinstance(token, int) or not 0 <= token < self.vocab_size:
                raise ValueError(f"{key} must be one of the {self.vocab_size} pieces, but is {token}.")
