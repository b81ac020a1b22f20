"""Pooling: from the states of a sequence to one vector.

Every pooling takes hidden (B, S, H) and mask (B, S) with the padding on the right (see `left_align`) and returns (B, H).
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init


def first(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the first token: [CLS] of a BERT."""
    return hidden[:, 0]


def last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the last token, the one that has read everything in a causal encoder."""
    index = (mask != 0).sum(1).clamp(min=1) - 1
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), index]


def mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over tokens."""
    weights = (mask != 0).unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def maximum(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The largest value of each feature over tokens."""
    return hidden.masked_fill((mask == 0).unsqueeze(-1), torch.finfo(hidden.dtype).min).amax(1)


_FUNCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "first": first,
    "last": last,
    "mean": mean,
    "max": maximum,
}
POOLINGS = (*_FUNCTIONS, "attention")


class Pooling(nn.Module):
    """One of `POOLINGS`, chosen by name; `attention` learns which tokens matter.

    Args:
        name: a name in `POOLINGS`.
        hidden_size: H.
        bidirectional: the second half of the features has read from the right, as that of a bidirectional LSTM: its last
            state, for `last`, is the one at the first token.
    """

    def __init__(self, name: str, hidden_size: int, bidirectional: bool = False):
        super().__init__()
        check_pooling(name)
        self.name = name
        self.bidirectional = bidirectional
        if name == "attention":
            self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.name == "last" and self.bidirectional:
            half = hidden.shape[-1] // 2
            return torch.cat([last(hidden[..., :half], mask), first(hidden[..., half:], mask)], dim=-1)
        if self.name != "attention":
            return _FUNCTIONS[self.name](hidden, mask)
        scores = self.score(hidden).squeeze(-1).float()
        weights = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min).softmax(-1)
        return torch.einsum("bs,bsh->bh", weights.to(hidden.dtype), hidden)

    def init_weights(self) -> None:
        """Zero scores: attention begins as the mean over tokens."""
        if self.name == "attention":
            init.zeros_(self.score.weight)


def check_pooling(name: str) -> None:
    """Raise a `ValueError` that lists the poolings there are when `name` is none of them."""
    if name not in POOLINGS:
        raise ValueError(f"Unknown pooling {name!r}: choose one of {', '.join(map(repr, POOLINGS))}.")
