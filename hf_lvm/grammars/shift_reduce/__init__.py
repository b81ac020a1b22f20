"""Binary trees built by SHIFT and REDUCE."""

from hf_lvm.grammars.shift_reduce.derivations import Derivations, derivations_of
from hf_lvm.grammars.shift_reduce.sharing import SharedDerivations, share

__all__ = ["Derivations", "SharedDerivations", "derivations_of", "share"]
