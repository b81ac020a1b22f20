"""Scores of pairs of consecutive kept words, as a distribution over deletions needs them, from the states of all words.

Pairs stand in squares (B, n + 1, n + 1) as [row, from, to]: from 0 is the begin, from i > 0 the word at i - 1; to j < n is the
word at j, to n the end (`hf_lvm.distributions.CanonicalDeletion`).
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.layers.precision import linear_at_least_float32
from hf_lvm.layers.span_scores import init_linear

# Gaps of so many words and more are scored alike.
GAP_BUCKETS = 16


class PairScorer(nn.Module):
    """score(i, j) = keep(h_j) + r_i . l_j + gap(words between), with h_j the state of word j.

    keep is what a tagger has that decides each word by itself, from a layer of units; r and l are linear layers of the states
    at the two sides, and so say which words go together; gap is one number for each length of what is left out.

    Args:
        hidden_size: H.
        pair_hidden_size: units of each layer; the hidden size where it is not given.
        dropout: on the units.
    """

    def __init__(self, hidden_size: int, pair_hidden_size: int | None = None, dropout: float = 0.0):
        super().__init__()
        units = hidden_size if pair_hidden_size is None else pair_hidden_size
        self.begin, self.end = nn.Parameter(torch.zeros(hidden_size)), nn.Parameter(torch.zeros(hidden_size))
        self.units, self.keep = nn.Linear(hidden_size, units), nn.Linear(units, 1)
        self.left, self.right = nn.Linear(hidden_size, units), nn.Linear(hidden_size, units)
        self.gap = nn.Parameter(torch.zeros(GAP_BUCKETS))
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States (B, n, H) of words, lengths (B,) -> scores (B, n + 1, n + 1), in float32 or better.

        The gap to the end counts the words of the row's own length, so that padding changes no score.
        """
        batch, length, _ = words.shape
        words = words.to(self.gap.dtype)  # the head of a model of fewer bits is kept in float32
        begin, end = (each.to(words.dtype).expand(batch, 1, -1) for each in (self.begin, self.end))
        left = self.dropout(self.left(torch.cat([begin, words], dim=1)))
        to = torch.cat([words, end], dim=1)
        right = self.dropout(self.right(to))
        keep = linear_at_least_float32(self.keep, self.dropout(self.units(to).relu())).squeeze(-1)
        with torch.autocast(words.device.type, enabled=False):
            dtype = torch.promote_types(left.dtype, torch.float32)
            pairs = left.to(dtype) @ right.to(dtype).mT * left.shape[-1] ** -0.5
            places = torch.arange(length + 1, device=words.device)
            to_place = torch.where(places < length, places, lengths.unsqueeze(1)).unsqueeze(1)
            between = (to_place - places.unsqueeze(1)).clamp(0, GAP_BUCKETS - 1)
            return keep.unsqueeze(1) + pairs + self.gap.to(dtype)[between]

    def init_weights(self) -> None:
        """Layers as torch has them; scores near 0, so that a word begins about as likely to be kept as not."""
        for layer in (self.units, self.left, self.right):
            init_linear(layer)
        init.normal_(self.keep.weight, std=0.02)
        init.zeros_(self.keep.bias)
        for parameter in (self.begin, self.end):
            init.normal_(parameter, std=0.1)
        init.zeros_(self.gap)


def pairs_of_masks(masks: torch.Tensor) -> torch.Tensor:
    """Where the pairs of masks (B, n) are: (B, n + 1, n + 1) bool, True at [row, from, to] for each pair of the mask.

    The one of the empty mask leads from the begin to the end.
    """
    length = masks.shape[-1]
    nodes = torch.arange(1, length + 1, device=masks.device)
    last_kept = torch.where(masks, nodes, 0).cummax(-1).values
    came_from = functional.pad(last_kept, (1, 0))
    reached = functional.pad(masks, (0, 1), value=True)
    return (came_from.unsqueeze(1) == torch.arange(length + 1, device=masks.device).view(1, -1, 1)) & reached.unsqueeze(1)
