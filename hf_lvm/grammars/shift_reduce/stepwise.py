"""The interface of models that write sentences with their trees step by step, for samplers and searches."""

from typing import Any, Protocol

import torch

from hf_lvm.grammars.shift_reduce.actions import NextStep


class DerivationState(Protocol):
    """B derivations on their way."""

    @property
    def size(self) -> torch.Tensor:
        """(B,), constituents on each stack."""

    def select(self, rows: torch.Tensor) -> "DerivationState":
        """These rows (R,), in this order."""

    def join(self, *others: "DerivationState") -> "DerivationState":
        """The rows of this state and then those of others, which may have taken other numbers of steps."""


class StepwiseGrammar(Protocol):
    """p(sentence, tree) one step after the other.

    Attributes:
        config: its `eos_token_id` is the piece whose SHIFT ends a sentence.
    """

    config: Any

    def begin(self, batch: int) -> DerivationState:
        """What B derivations begin with: empty stacks."""

    def next_step(self, state: DerivationState) -> NextStep:
        """What may come next."""

    def advance(self, state: DerivationState, actions: torch.LongTensor, pieces: torch.LongTensor) -> DerivationState:
        """One step of each row: an `Action` (B,), and the piece of a SHIFT or CONTINUE (B,), elsewhere not looked at."""
