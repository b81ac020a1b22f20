"""Prompts of different lengths, continued as if each were alone.

Padding between a latent prefix and a prompt, or between keys in memory and a prompt, shifts positions in a way that half of
the decoder families cannot be told about. Rows of one length need no padding at all, so rows are grouped by length: the
result is that of unpadded prompts in every family, by construction.
"""

from collections.abc import Iterator

import torch


def prompt_rows(
    prompt: torch.Tensor | None, mask: torch.Tensor | None, start_token_id: int, batch_size: int, device: torch.device
) -> list[list[int]]:
    """The tokens of each row without padding, start token first (added where a prompt does not begin with it).

    Args:
        prompt: (B, P) token ids padded on either side, or None for no prompt.
        mask: (B, P), nonzero at tokens; None where there is no padding.

    Raises:
        ValueError: prompt, mask and batch do not go together.
    """
    if prompt is None:
        return [[start_token_id]] * batch_size
    if mask is not None and mask.shape != prompt.shape:
        raise ValueError(
            f"decoder_attention_mask {tuple(mask.shape)} and decoder_input_ids {tuple(prompt.shape)} differ in shape."
        )
    if prompt.shape[0] != batch_size:
        raise ValueError(f"Got {prompt.shape[0]} prompts for {batch_size} latents: give one prompt a latent.")
    kept = torch.ones_like(prompt) if mask is None else mask
    rows = []
    for tokens, is_token in zip(prompt.tolist(), kept.tolist(), strict=True):
        row = [token for token, keep in zip(tokens, is_token, strict=True) if keep]
        rows.append(row if row[:1] == [start_token_id] else [start_token_id, *row])
    return rows


def groups_of_one_length(rows: list[list[int]]) -> Iterator[list[int]]:
    """Indices of the rows of each length, shortest rows first."""
    for length in sorted({len(row) for row in rows}):
        yield [index for index, row in enumerate(rows) if len(row) == length]


def stack_padded(rows: list[torch.Tensor], pad_token_id: int) -> torch.Tensor:
    """Rows of different lengths as one tensor, padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_token_id)
