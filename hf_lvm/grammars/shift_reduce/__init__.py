"""Binary trees built by SHIFT and REDUCE."""

from hf_lvm.grammars.shift_reduce.actions import Action, NextStep
from hf_lvm.grammars.shift_reduce.derivations import Derivations, derivations_of
from hf_lvm.grammars.shift_reduce.sharing import SharedDerivations, share
from hf_lvm.grammars.shift_reduce.stepwise import DerivationState, StepwiseGrammar

__all__ = [
    "Action",
    "DerivationState",
    "Derivations",
    "NextStep",
    "SharedDerivations",
    "StepwiseGrammar",
    "derivations_of",
    "share",
]
