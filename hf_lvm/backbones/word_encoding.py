"""From sentences of pieces to states of their words, by any encoder: for latents that stand over words."""

from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from hf_lvm.backbones.encoders import check_positions, encode_tokens, encoder_positions
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.word_states import pool_words, whole_words


class WordInputs(NamedTuple):
    """B sentences as an encoder reads them, padded on the right.

    Attributes:
        input_ids: (B, S), pieces.
        attention_mask: (B, S), nonzero at pieces.
        word_ids: (B, S), the word that each piece belongs to, from 0; -1 for special tokens and padding.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    word_ids: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """The number of words of each sentence, (B,)."""
        return self.word_ids.amax(1) + 1


def word_inputs(
    encoder: PreTrainedModel,
    input_ids: torch.LongTensor,
    attention_mask: torch.Tensor | None = None,
    word_ids: torch.LongTensor | None = None,
) -> WordInputs:
    """Sentences (B, S), padded on either side, as the encoder reads them.

    Args:
        attention_mask: (B, S), nonzero at tokens; None where all are.
        word_ids: (B, S), see `WordInputs`. Without them each token that is not special is a word.

    Raises:
        ValueError: sentences longer than the encoder's positions.
    """
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    room = encoder_positions(encoder)
    if room is not None and input_ids.shape[1] > room:
        check_positions(encoder, (attention_mask != 0).sum(1).tolist())
    if word_ids is None:
        word_ids = whole_words(input_ids, attention_mask, encoder.config)
    # Padding alone may be wider than there is room.
    input_ids, mask, word_ids = (
        left_align(each, attention_mask)[0][:, :room] for each in (input_ids, attention_mask, word_ids)
    )
    return WordInputs(input_ids, mask, word_ids)


def encode_words(encoder: PreTrainedModel, inputs: WordInputs, num_words: int) -> torch.Tensor:
    """The states of words, (B, num_words, H), 0 where a sentence has no such word."""
    return pool_words(encode_tokens(encoder, inputs.input_ids, inputs.attention_mask), inputs.word_ids, num_words)
