"""Binary trees built by SHIFT and REDUCE."""

from hf_lvm.grammars.shift_reduce.actions import Action, NextStep
from hf_lvm.grammars.shift_reduce.derivations import Derivations, derivations_of, trees_of_reduces
from hf_lvm.grammars.shift_reduce.pieces import begins_word, check_word_ids, ends_word, spans_of_pieces
from hf_lvm.grammars.shift_reduce.sharing import SharedDerivations, share
from hf_lvm.grammars.shift_reduce.stepwise import DerivationState, StepwiseGrammar

__all__ = [
    "Action",
    "DerivationState",
    "Derivations",
    "NextStep",
    "SharedDerivations",
    "StepwiseGrammar",
    "begins_word",
    "check_word_ids",
    "derivations_of",
    "ends_word",
    "share",
    "spans_of_pieces",
    "trees_of_reduces",
]
