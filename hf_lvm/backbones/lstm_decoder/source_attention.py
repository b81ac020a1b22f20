"""Attention of an LSTM to the states of a source (Luong et al. 2015, "Effective approaches to attention-based NMT")."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class SourceStates(NamedTuple):
    """The states that are attended to, ready to be read.

    Attributes:
        states: (B, S, E), zeros where they do not count.
        bias: (B, 1, S), added to the scores: 0, or about minus infinity where a state does not count.
    """

    states: torch.Tensor
    bias: torch.Tensor

    def without_padding(self, weights: torch.Tensor) -> torch.Tensor:
        """Weights (B, T, S), zeros where no state of a row counts too."""
        return weights.masked_fill(self.bias < 0, 0.0)


class SourceAttention(nn.Module):
    """The "general" score h^T W_a s (section 3.1) and the attentional vector tanh(W_c [context; h]) (eq. 5), without bias.

    Args:
        hidden_size: H of the decoder's states and of the attentional vectors.
        source_size: E of the states attended to.
    """

    def __init__(self, hidden_size: int, source_size: int):
        super().__init__()
        self.source_size = source_size
        self.query = nn.Linear(hidden_size, source_size, bias=False)
        self.output = nn.Linear(source_size + hidden_size, hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor, source: SourceStates | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attentional vectors (B, T, H) of states (B, T, H), and the weights (B, T, S).

        Without a source the context is zeros, as beside one of which no state counts. All is in the precision of the weights,
        not in that of autocast: an attentional vector may be read by the next step, and a recurrence is not to be rounded.
        """
        hidden = hidden.to(self.query.weight.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            if source is None:
                return torch.tanh(functional.linear(hidden, self.by_hidden)), None
            weights = (self.query(hidden) @ source.states.mT + source.bias).softmax(-1)
            context = weights @ source.states
            return torch.tanh(self.output(torch.cat([context, hidden], dim=-1))), source.without_padding(weights)

    def source(self, states: torch.Tensor, mask: torch.Tensor | None, batch: int) -> SourceStates:
        """The states (B, S, E) of `batch` rows, of which those count at which the mask (B, S) is not 0.

        Raises:
            ValueError: shapes that do not go together.
        """
        dtype = self.query.weight.dtype
        if states.dim() != 3 or states.shape[::2] != (batch, self.source_size):
            raise ValueError(
                f"encoder_hidden_states have shape {tuple(states.shape)}, and {batch} rows of words attend to states of size "
                f"{self.source_size}: pass ({batch}, S, {self.source_size}), or build the decoder with the "
                "cross_attention_hidden_size that they have."
            )
        if mask is None:
            return SourceStates(states.to(dtype), states.new_zeros(batch, 1, states.shape[1], dtype=dtype))
        if mask.shape != states.shape[:2]:
            raise ValueError(
                f"encoder_attention_mask has shape {tuple(mask.shape)} beside encoder_hidden_states of "
                f"{tuple(states.shape)}: pass {tuple(states.shape[:2])}."
            )
        padding = mask == 0
        # Half of the lowest number, so that no score makes it infinite: a row in which no state counts reads zeros.
        bias = torch.zeros_like(padding, dtype=dtype).masked_fill(padding, torch.finfo(dtype).min / 2)
        return SourceStates(states.to(dtype).masked_fill(padding.unsqueeze(-1), 0.0), bias.unsqueeze(1))

    @property
    def by_context(self) -> torch.Tensor:
        """The part of W_c that reads the context: (H, E)."""
        return self.output.weight[:, : self.source_size]

    @property
    def by_hidden(self) -> torch.Tensor:
        """The part of W_c that reads the decoder's state: (H, H)."""
        return self.output.weight[:, self.source_size :]
