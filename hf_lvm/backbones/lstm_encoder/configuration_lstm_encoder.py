"""Configuration of the LSTM encoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class LSTMEncoderConfig(PreTrainedConfig):
    """What an `LSTMEncoderModel` is made of. The defaults are those of text VAEs on the Penn Treebank.

    Args:
        vocab_size: words.
        embedding_size: of a word; the hidden size where it is not given.
        hidden_size: of a state; with two directions, both together.
        num_hidden_layers: LSTMs on top of each other.
        bidirectional: read from both ends.
        dropout: share of the embeddings, and of the states between layers, set to zero in training.
        initializer_range: weights of the LSTMs begin uniform in +- this.
        embedding_initializer_range: embeddings begin uniform in +- this.
    """

    model_type = "hf_lvm_lstm_encoder"

    vocab_size: int = 10_000
    embedding_size: int | None = None
    hidden_size: int = 256
    num_hidden_layers: int = 1
    bidirectional: bool = False
    dropout: float | int = 0.0
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.embedding_size is None:
            self.embedding_size = self.hidden_size
        for key in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"Two directions share the hidden size evenly, and {self.hidden_size} is odd.")
