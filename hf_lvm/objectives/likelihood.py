"""-log p of token sequences: what is read, what is scored, and the sum that makes it nats per sentence."""

import torch
from torch.nn import functional

# Labels that are not scored: the padding behind a sentence.
IGNORED = -100


def sentence_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over the tokens of a sentence of -log p, in nats: (B,) from logits (B, T, V) and labels (B, T).

    Computed in float32 or better. Labels of -100 count nothing, so neither padding nor other sentences matter.
    """
    logits = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    nll = functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="none")
    return nll.view_as(labels).sum(-1)


def shift_right(labels: torch.Tensor, start_token_id: int, filler_id: int | None = None) -> torch.Tensor:
    """What a decoder reads to predict labels (B, T): the start token, then all labels but the last.

    Args:
        filler_id: read where the labels are padding, after the end of a sentence, where nothing is scored; the start token
            where it is not given.

    Raises:
        ValueError: padding before a token (looked for on the CPU only, where it costs no wait).
    """
    if labels.device.type == "cpu" and bool(((labels[:, :-1] == IGNORED) & (labels[:, 1:] != IGNORED)).any()):
        raise ValueError("Labels are padded with -100 on the right only; here a -100 stands before a token.")
    start = labels.new_full((labels.shape[0], 1), start_token_id)
    padding = functional.pad(labels[:, :-1] == IGNORED, (1, 0), value=False)
    filler_id = start_token_id if filler_id is None else filler_id
    return torch.cat([start, labels[:, :-1]], dim=1).masked_fill_(padding, filler_id)
