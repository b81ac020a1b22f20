"""Languages given by a small EBNF."""

from hf_lvm.grammars.ebnf.language import EBNFLanguage

__all__ = ["EBNFLanguage"]
