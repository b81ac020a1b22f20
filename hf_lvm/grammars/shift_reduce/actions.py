"""One step of a derivation: what may come next, and how probable each of it is."""

from dataclasses import dataclass
from enum import IntEnum

import torch


class Action(IntEnum):
    """What a step does to the stack.

    SHIFT begins a word with its first piece, or draws the end of the sentence; CONTINUE adds a piece to the word on top, which
    nothing has been done to yet; REDUCE replaces the two topmost constituents by what they make up. Where every word is one
    piece there is no CONTINUE.
    """

    SHIFT = 0
    REDUCE = 1
    CONTINUE = 2


@dataclass(frozen=True)
class NextStep:
    """log p of all that may come next in B derivations, nats; over everything together the probabilities sum to 1.

    Attributes:
        reduces: (B,), log p(REDUCE); -inf where the stack holds fewer than two constituents.
        shifts: (B, V), log p(SHIFT and this piece), the end of the sentence among them, -inf where it cannot be.
        continues: (B, V), log p(CONTINUE and this piece), -inf where no word is open; None for a model of whole words.
    """

    reduces: torch.Tensor
    shifts: torch.Tensor
    continues: torch.Tensor | None = None
