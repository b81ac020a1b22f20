"""From the states of pieces to those of words, for what is over words whatever the tokenizer."""

import torch
from transformers import PreTrainedConfig

SPECIAL = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


def pool_words(hidden: torch.Tensor, word_ids: torch.Tensor, num_words: int) -> torch.Tensor:
    """The state of each word, its two halves apart: (B, n, H), 0 for words that are not there.

    The first half is that of the last piece and the second half that of the first one: each is where a half that has read from
    its side has seen all of the word and nothing behind it, as in a bidirectional LSTM.

    Args:
        hidden: (B, S, H), states of pieces.
        word_ids: (B, S), the number of the word that each piece belongs to, from 0; -1 for special tokens and padding.
        num_words: n, at least one more than the highest number.
    """
    batch, pieces = word_ids.shape
    places = torch.arange(pieces, device=hidden.device).expand(batch, -1)
    # What belongs to no word goes to one too many.
    words = torch.where(word_ids < 0, num_words, word_ids)
    shape = (batch, num_words + 1)
    first = places.new_full(shape, pieces).scatter_reduce(1, words, places, "amin")[:, :num_words]
    last = places.new_full(shape, -1).scatter_reduce(1, words, places, "amax")[:, :num_words]
    rows, half = torch.arange(batch, device=hidden.device).unsqueeze(1), hidden.shape[-1] // 2
    pooled = torch.cat([hidden[rows, last, :half], hidden[rows, first.clamp(max=pieces - 1), half:]], dim=-1)
    return pooled.masked_fill((last < 0).unsqueeze(-1), 0.0)


def whole_words(input_ids: torch.Tensor, attention_mask: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """The number of the word at each place, (B, S), where every token that is not special is a word; -1 elsewhere."""
    special = [token for token in (getattr(config, key, None) for key in SPECIAL) if isinstance(token, int)]
    is_word = (attention_mask != 0) & ~torch.isin(input_ids, torch.tensor(special, device=input_ids.device))
    return torch.where(is_word, is_word.cumsum(1) - 1, -1)
