"""Word dropout: hide some words of its own past from the decoder, so that it has a reason to ask the latent.

Bowman et al. 2015, "Generating sentences from a continuous space", section 3.1: each token of the decoder's input is
replaced by the unknown word with a fixed probability. The labels stay whole.
"""

import torch
from torch import Tensor


def drop_words(
    decoder_input_ids: Tensor,
    rate: float,
    replacement_id: int,
    generators: list[torch.Generator],
    keep_mask: Tensor | None = None,
) -> Tensor:
    """Replace each token of the decoder's input by `replacement_id` with probability `rate`.

    The first column, which holds the start token, is always kept. Which tokens of a row are dropped depends on the
    generator of the row and on nothing else: not on the rest of the batch, nor on the padding behind the row.

    Args:
        decoder_input_ids: (B, T), padded on the right.
        rate: probability of dropping, in [0, 1).
        replacement_id: token put in the place of a dropped one.
        generators: B generators on the CPU.
        keep_mask: (B, T) bool, True where a token must stay, such as padding.

    Returns:
        (B, T), a new tensor.

    Raises:
        ValueError: the rate is not in [0, 1), or there is not one generator per row.
    """
    check_rate(rate)
    batch_size, length = decoder_input_ids.shape
    if len(generators) != batch_size:
        raise ValueError(f"got {len(generators)} generators for {batch_size} rows; word dropout needs one per row")
    uniform = torch.stack([torch.rand(length, generator=generator) for generator in generators])
    dropped = uniform.to(decoder_input_ids.device) < rate
    dropped[:, 0] = False
    if keep_mask is not None:
        dropped &= ~keep_mask
    return decoder_input_ids.masked_fill(dropped, replacement_id)


def check_rate(rate: float) -> None:
    """Raise a `ValueError` when `rate` is no probability of dropping a word."""
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"word_dropout is {rate}; it must be in [0, 1): the share of the decoder's input tokens to hide")


def replacement_token_id(tokenizer: object | None) -> int:
    """The token that stands for a dropped word: the unknown token of the decoder's tokenizer, else its mask token.

    GPT-2 and its kin name one token for unknown, start and end alike. To put it in the place of words would teach the
    decoder that sentences end anywhere, so a token with another duty is not taken.

    Raises:
        ValueError: the tokenizer has neither.
    """
    duties = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")}
    for name in ("unk", "mask"):
        token_id = getattr(tokenizer, f"{name}_token_id", None)
        if token_id is not None and token_id not in duties:
            return token_id
    raise ValueError(
        "word dropout needs a token to put in the place of a dropped word, and the decoder's tokenizer has neither an "
        "unknown nor a mask token of its own. Add one (tokenizer.add_special_tokens({'mask_token': '<mask>'}), then "
        "resize the decoder's embeddings), name one with LatentTrainer(word_dropout_token_id=...), or set "
        "word_dropout to 0"
    )
