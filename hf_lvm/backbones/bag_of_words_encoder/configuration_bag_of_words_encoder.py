"""Configuration of the bag-of-words encoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class BagOfWordsEncoderConfig(PreTrainedConfig):
    """What a `BagOfWordsEncoderModel` is made of. The defaults are those of neural topic models.

    Args:
        vocab_size: words.
        hidden_size: of the embedding of a text and of every layer behind it.
        num_hidden_layers: layers behind the embedding; 0 for none.
        dropout: share of the embedding, and of what each layer gives, set to zero in training.
        initializer_range: standard deviation of the word embeddings in a new model.

    Raises:
        ValueError: a size that is too small, or a dropout outside [0, 1).
    """

    model_type = "hf_lvm_bag_of_words_encoder"

    vocab_size: int = 10_000
    hidden_size: int = 200
    num_hidden_layers: int = 1
    dropout: float | int = 0.2
    initializer_range: float | int = 0.1
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key, least in (("vocab_size", 1), ("hidden_size", 1), ("num_hidden_layers", 0)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be at least {least}, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")
