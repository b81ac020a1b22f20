"""Configuration of the segment decoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from hf_lvm.backbones.bigram_decoder.configuration_bigram_decoder import not_predicted


@strict
class SegmentDecoderConfig(PreTrainedConfig):
    """What a `SegmentDecoderModel` is made of.

    Args:
        vocab_size: words.
        hidden_size: of a word's embedding and of all layers.
        gap_places: number of biases in the decision whether a gap goes on: one for each place in the gap, the last one shared
            by all places from there on.
        dropout: share of the contexts' units set to zero in training.
        initializer_range: weights begin normal with this standard deviation.
        pad_token_id, bos_token_id, eos_token_id: no words: they are never written into a gap. The last two stand for the
            begin and the end of the sentence.
    """

    model_type = "hf_lvm_segment_decoder"

    vocab_size: int = 10_000
    hidden_size: int = 128
    num_hidden_layers: int = 1
    gap_places: int = 8
    dropout: float | int = 0.0
    initializer_range: float | int = 0.05
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for key in ("vocab_size", "hidden_size", "gap_places"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}.")

    @property
    def excluded_ids(self) -> tuple[int, ...]:
        """Ids that stand in no gap."""
        end = () if self.eos_token_id is None else (self.eos_token_id,)
        return (*not_predicted(self), *end)
