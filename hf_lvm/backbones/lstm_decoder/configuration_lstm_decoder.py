"""Configuration of the LSTM decoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class LSTMDecoderConfig(PreTrainedConfig):
    """What an `LSTMDecoderModel` is made of. The defaults are those of text VAEs on the Penn Treebank.

    Args:
        vocab_size: words.
        embedding_size: of a word; the hidden size where it is not given.
        hidden_size: of a state.
        num_hidden_layers: LSTMs on top of each other.
        condition_size: size of what is concatenated to every word's embedding, 0 for nothing.
        add_cross_attention: attend to the states of a source, by the "general" score of Luong et al. (2015).
        cross_attention_hidden_size: size of those states; the hidden size where it is not given.
        input_feeding: with `add_cross_attention`, read each attentional vector beside the next word (their section 3.3).
        embedding_dropout: share of the embeddings set to zero in training.
        dropout: share of the states set to zero in training, between layers and before the output layer. An
            attentional vector is fed as the output layer reads it.
        initializer_range: weights begin uniform in +- this.
        embedding_initializer_range: embeddings begin uniform in +- this.
    """

    model_type = "hf_lvm_lstm_decoder"

    vocab_size: int = 10_000
    embedding_size: int | None = None
    hidden_size: int = 256
    num_hidden_layers: int = 1
    condition_size: int = 0
    add_cross_attention: bool = False
    cross_attention_hidden_size: int | None = None
    input_feeding: bool = False
    embedding_dropout: float | int = 0.5
    dropout: float | int = 0.5
    initializer_range: float | int = 0.01
    embedding_initializer_range: float | int = 0.1
    use_cache: bool = True
    tie_word_embeddings: bool = False
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
        for key in ("embedding_dropout", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be in [0, 1), but is {getattr(self, key)}.")
        if self.cross_attention_hidden_size is not None and self.cross_attention_hidden_size < 1:
            raise ValueError(
                f"cross_attention_hidden_size must be at least 1, but is {self.cross_attention_hidden_size}: leave it out "
                "for the hidden size."
            )
        if self.condition_size < 0:
            raise ValueError(f"condition_size must be 0 or more, but is {self.condition_size}.")
        if self.tie_word_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_word_embeddings needs one size, but embedding_size is {self.embedding_size} and hidden_size "
                f"{self.hidden_size}."
            )
