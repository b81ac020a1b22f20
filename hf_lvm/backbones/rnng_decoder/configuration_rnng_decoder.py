"""Configuration of the recurrent neural network grammar."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class RNNGDecoderConfig(PreTrainedConfig):
    """What an `RNNGDecoderModel` is made of. The defaults are those of Kim et al. (2019) on the Penn Treebank.

    Args:
        vocab_size: words, or their pieces.
        hidden_size: of words, constituents and states of the stack.
        num_hidden_layers: LSTMs on top of each other that read the stack.
        subwords: whether words may be several pieces. Then a third output layer says whether a word goes on.
        dropout: share of embeddings and states set to zero in training: words, between layers, before the output layers.
        shares_dropout: whether what trees of one sentence have in common is computed once in training, its elements dropped
            for all of them alike. False draws for each tree anew, as the published code does: gradients vary less, and take
            longer.
        initializer_range: weights and embeddings begin uniform in +- this.
        bos_token_id: the word whose embedding the stack's LSTM reads first.
        eos_token_id: the word that ends a sentence, which can follow a single constituent only.
    """

    model_type = "hf_lvm_rnng_decoder"

    vocab_size: int = 10_000
    hidden_size: int = 650
    num_hidden_layers: int = 2
    subwords: bool = False
    dropout: float | int = 0.5
    shares_dropout: bool = True
    initializer_range: float | int = 0.1
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | None = 3

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key in ("vocab_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")
        for key in ("bos_token_id", "eos_token_id"):
            token = getattr(self, key)
            if token is None or not 0 <= token < self.vocab_size:
                raise ValueError(f"{key} must be one of the {self.vocab_size} words, but is {token}.")
