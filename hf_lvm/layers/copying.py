"""The weights of copying: words of a sentence into a tree, and pieces of a tree into a sentence.

What decodes with them is `hf_lvm.generation.copying_decoder` and `hf_lvm.generation.pointer_generator`.
"""

import torch
from torch import nn
from transformers import initialization as init

from hf_lvm.generation.copying_decoder import CopiedWords
from hf_lvm.generation.pointer_generator import CopiedSymbols
from hf_lvm.layers.span_scores import init_linear

# A score of what cannot be that still has a soft-max and a gradient.
NOTHING = -1e9


class WordCopies(nn.Module):
    """Copying words: a score for each, and what is read after it, a vector for copying plus the projected state of the word.

    Args:
        state_size: H, of what the output layer of the decoder reads.
        source_size: S, of a word's state.
        embedding_size: E, of what the decoder reads.
    """

    def __init__(self, state_size: int, source_size: int, embedding_size: int):
        super().__init__()
        self.query, self.key = nn.Linear(state_size, state_size), nn.Linear(source_size, state_size)
        # Its bias is the vector that says that something has been copied.
        self.read = nn.Linear(source_size, embedding_size)

    def forward(self, states: torch.Tensor, mask: torch.Tensor, slots: int) -> CopiedWords:
        """What may be copied of sentences.

        Args:
            states: (B, n, S), of their words.
            mask: (B, n), nonzero at words.
            slots: how many symbols copy.
        """
        return CopiedWords(slots, self.query, self.key(states), self.read(states), mask)

    def init_weights(self) -> None:
        """Where no weights were loaded."""
        for layer in (self.query, self.key, self.read):
            init_linear(layer)


class SymbolCopies(nn.Module):
    """Copying symbols of the decoder's own vocabulary: attention to the places that are some, and a gate.

    Args:
        state_size: H, of what the output layer of the decoder reads.
        source_size: R, of the state of a place.
    """

    def __init__(self, state_size: int, source_size: int):
        super().__init__()
        self.query = nn.Linear(state_size, source_size)
        self.gate = nn.Linear(state_size + source_size, 1)

    def forward(self, symbols: torch.Tensor) -> CopiedSymbols:
        """What may be copied of sources whose places are symbols (B, S), -1 where they are none."""
        return CopiedSymbols(self.attend, symbols)

    def attend(self, hidden: torch.Tensor, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log attention (N, L, S) of hidden states (N, L, H) to states (N, S, R) where the mask (N, S) is True, and the logit
        (N, L) of not copying."""
        scores = self.query(hidden) @ states.mT * states.shape[-1] ** -0.5
        log_attention = scores.masked_fill(~mask.unsqueeze(1), NOTHING).log_softmax(-1)
        attended = log_attention.exp() @ states
        return log_attention, self.gate(torch.cat([hidden, attended], dim=-1)).squeeze(-1)

    def init_weights(self) -> None:
        """Where no weights were loaded."""
        for layer in (self.query, self.gate):
            init_linear(layer)


class FieldEmbeddings(nn.Embedding):
    """What a decoder of trees reads of the place that comes next: one vector for each field of a grammar."""

    def init_weights(self) -> None:
        """Where no weights were loaded: small beside the embedding that they are added to."""
        init.normal_(self.weight, std=0.02)
