"""Configuration of the bigram language model."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class BigramDecoderConfig(PreTrainedConfig):
    """What a `BigramDecoderModel` is made of.

    Args:
        vocab_size: words.
        hidden_size: of a word's embedding and of the layer behind it.
        dropout: share of the units set to zero in training.
        initializer_range: weights begin normal with this standard deviation.
        pad_token_id, bos_token_id: no words: they are never predicted, unless one of them is also the end.
    """

    model_type = "hf_lvm_bigram_decoder"

    vocab_size: int = 10_000
    hidden_size: int = 128
    num_hidden_layers: int = 1
    dropout: float | int = 0.0
    initializer_range: float | int = 0.05
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key in ("vocab_size", "hidden_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")

    @property
    def excluded_ids(self) -> tuple[int, ...]:
        """Ids that are never predicted."""
        return not_predicted(self)


def not_predicted(config: PreTrainedConfig) -> tuple[int, ...]:
    """Padding and start token, where they are not also the token that ends a sentence."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return tuple(token for token in (config.pad_token_id, config.bos_token_id) if token is not None and token not in ends)
