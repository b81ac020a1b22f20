"""Scores of all spans of a sentence from the states of its words, as a tree distribution needs them.

Both scorers see a span by its two ends. Between words there are n + 1 fenceposts; the one before word k knows what stands to
its left by the first half of the state of word k - 1, and what stands to its right by the second half of that of word k (0
where there is no word). With a bidirectional LSTM these halves have read nothing else (Cross and Huang 2016; Kitaev and Klein
2018).
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.layers.precision import linear_at_least_float32


class FencepostScorer(nn.Module):
    """What the span adds to both readings, F and B, through a layer of units.

    score(i..j) = w . LayerNorm(ReLU(W [F_j+1 - F_i; B_i - B_j+1])), the inference network of Kim et al. (2019, section 2.2).
    Their code takes other places, F_j+2 - F_i+1 and B_i-1 - B_j: the span moved by a word to the right and to the left.

    Args:
        hidden_size: H, even.
        span_hidden_size: units; the hidden size where it is not given.
        dropout: on the units.
    """

    def __init__(self, hidden_size: int, span_hidden_size: int | None = None, dropout: float = 0.0):
        super().__init__()
        check_halves(hidden_size)
        units = hidden_size if span_hidden_size is None else span_hidden_size
        self.units = nn.Linear(hidden_size, units)
        self.norm = nn.LayerNorm(units)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(units, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """words (B, n, H), 0 past the length -> scores (B, n, n) in float32 or better, for i..j at [i, j] where i <= j."""
        # The head of a model of fewer bits is kept in float32.
        left, right = fenceposts(words.to(self.units.weight.dtype))
        # The first layer is linear: applied to the fenceposts, n + 1 of them, and not to n^2 differences.
        of_left, of_right = self.units.weight.chunk(2, dim=1)
        posts = functional.linear(left, of_left) - functional.linear(right, of_right)
        units = posts[:, None, 1:] - posts[:, :-1, None] + self.units.bias
        return linear_at_least_float32(self.score, self.dropout(self.norm(units.relu()))).squeeze(-1)

    def init_weights(self) -> None:
        """The units as torch has them; scores near 0, so that all trees begin about as probable."""
        init_linear(self.units)
        init.ones_(self.norm.weight)
        init.zeros_(self.norm.bias)
        init.normal_(self.score.weight, std=0.02)
        init.zeros_(self.score.bias)


class BiaffineScorer(nn.Module):
    """A bilinear form of the two ends: score(i..j) = [r_i; 1]^T U [l_j+1; 1] (Dozat and Manning 2017; Zhang et al. 2020).

    r and l are layers of units over the fencepost where the span begins and where it ends.

    Args:
        hidden_size: H, even.
        span_hidden_size: units of each end; the hidden size where it is not given.
        dropout: on the units.
    """

    def __init__(self, hidden_size: int, span_hidden_size: int | None = None, dropout: float = 0.0):
        super().__init__()
        check_halves(hidden_size)
        units = hidden_size if span_hidden_size is None else span_hidden_size
        self.begin, self.end = nn.Linear(hidden_size, units), nn.Linear(hidden_size, units)
        self.dropout = nn.Dropout(dropout)
        self.form = nn.Parameter(torch.zeros(units + 1, units + 1))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """words (B, n, H), 0 past the length -> scores (B, n, n) in float32 or better, for i..j at [i, j] where i <= j."""
        posts = torch.cat(fenceposts(words.to(self.form.dtype)), dim=-1)
        begin, end = (self._units(layer, posts) for layer in (self.begin, self.end))
        with torch.autocast(words.device.type, enabled=False):
            return begin[:, :-1] @ self.form.to(begin.dtype) @ end[:, 1:].transpose(1, 2)

    def _units(self, layer: nn.Linear, posts: torch.Tensor) -> torch.Tensor:
        units = self.dropout(functional.leaky_relu(layer(posts), 0.1))
        return functional.pad(units.to(torch.promote_types(units.dtype, torch.float32)), (0, 1), value=1.0)

    def init_weights(self) -> None:
        """The units as torch has them; scores near 0, so that all trees begin about as probable."""
        for layer in (self.begin, self.end):
            init_linear(layer)
        init.normal_(self.form, std=0.02 * len(self.form) ** -0.5)


SPAN_SCORERS: dict[str, type[nn.Module]] = {"fencepost": FencepostScorer, "biaffine": BiaffineScorer}


def fenceposts(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is known of the left and of the right, (B, n + 1, H / 2) each, at the places around words (B, n, H)."""
    left, right = words.chunk(2, dim=-1)
    return functional.pad(left, (0, 0, 1, 0)), functional.pad(right, (0, 0, 0, 1))


def init_linear(layer: nn.Linear) -> None:
    """Weights as `nn.Linear` begins with, where none were loaded: its own `reset_parameters` would not ask."""
    bound = layer.in_features**-0.5
    for parameter in (layer.weight, layer.bias):
        init.uniform_(parameter, -bound, bound)


def check_halves(hidden_size: int) -> None:
    """Raise a `ValueError` for states that have no two halves."""
    if hidden_size % 2:
        raise ValueError(
            f"Spans are scored by the two halves of a word's state: hidden_size must be even, but is {hidden_size}."
        )
