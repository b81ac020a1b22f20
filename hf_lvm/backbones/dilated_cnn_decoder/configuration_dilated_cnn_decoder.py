"""Configuration of the dilated-CNN decoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# The four decoders of Yang et al. (2017); with kernels of 3 they see 15, 63, 125 and 187 tokens.
PRESETS = {
    "small": [1, 2, 4],
    "medium": [1, 2, 4, 8, 16],
    "large": [1, 2, 4, 8, 16] * 2,
    "very_large": [1, 2, 4, 8, 16] * 3,
}


@strict
class DilatedCNNDecoderConfig(PreTrainedConfig):
    """What a `DilatedCNNDecoderModel` is made of. The widths are those of Yang et al. (2017).

    The blocks are given by `size`, by `dilations` or by `num_hidden_layers`; where none is given, it is a small decoder.

    Args:
        vocab_size: words.
        embedding_size: of a word.
        hidden_size: channels between the blocks.
        internal_size: channels inside a block.
        kernel_size: places that a convolution looks at, at least 2.
        size: `small`, `medium`, `large` or `very_large`.
        dilations: distance between these places, for each block.
        num_hidden_layers: that many blocks with the dilations 1, 2, 4, 8, 16, 1, 2, ...
        condition_size: size of what is concatenated to every word's embedding, 0 for nothing.
        embedding_dropout: share of the embeddings set to zero in training.
        dropout: share of the states set to zero in training, before the output layer.
        initializer_range: standard deviation that output weights begin with (and the embeddings, where they are tied).
        embedding_initializer_range: standard deviation that embeddings begin with.
    """

    model_type = "hf_lvm_dilated_cnn_decoder"

    vocab_size: int = 10_000
    embedding_size: int = 512
    hidden_size: int = 1024
    internal_size: int = 512
    kernel_size: int = 3
    size: str | None = None
    dilations: list[int] | None = None
    num_hidden_layers: int | None = None
    condition_size: int = 0
    embedding_dropout: float | int = 0.5
    dropout: float | int = 0.5
    initializer_range: float | int = 0.02
    embedding_initializer_range: float | int = 0.1
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key in ("vocab_size", "embedding_size", "hidden_size", "internal_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if self.kernel_size < 2:
            raise ValueError(f"kernel_size must be at least 2, to see a word before the last, but is {self.kernel_size}.")
        for key in ("embedding_dropout", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key} must be in [0, 1), but is {getattr(self, key)}.")
        if self.condition_size < 0:
            raise ValueError(f"condition_size must be 0 or more, but is {self.condition_size}.")
        if self.tie_word_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_word_embeddings needs one size, but embedding_size is {self.embedding_size} and hidden_size "
                f"{self.hidden_size}."
            )
        self._settle_dilations()

    def _settle_dilations(self) -> None:
        """One list of dilations from the three ways to give them."""
        if self.size is not None and self.size not in PRESETS:
            raise ValueError(f"Unknown size {self.size!r}: choose one of {', '.join(map(repr, PRESETS))}, or give dilations.")
        if self.num_hidden_layers is not None and self.num_hidden_layers < 1:
            raise ValueError(f"num_hidden_layers must be at least 1, but is {self.num_hidden_layers}.")
        preset = PRESETS.get(self.size)
        if self.dilations is None:
            count = len(PRESETS["small"]) if self.num_hidden_layers is None else self.num_hidden_layers
            self.dilations = list(preset or (2 ** (layer % 5) for layer in range(count)))
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be one whole number of at least 1 for each block, but are {self.dilations}.")
        if preset not in (None, self.dilations) or self.num_hidden_layers not in (None, len(self.dilations)):
            raise ValueError(
                f"size={self.size!r}, dilations={self.dilations} and num_hidden_layers={self.num_hidden_layers} name "
                "different blocks: give one of the three."
            )
        self.num_hidden_layers = len(self.dilations)

    @property
    def receptive_field(self) -> int:
        """The number of words a logit depends on, the word just read counted."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)
