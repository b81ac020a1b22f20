"""Grammars of abstract syntax and their ASDL texts."""

from hf_lvm.grammars.asdl.grammar import Cardinality, Constructor, Field, Grammar
from hf_lvm.grammars.asdl.text import BUILTIN_TYPES, parse_asdl, write_asdl

__all__ = ["BUILTIN_TYPES", "Cardinality", "Constructor", "Field", "Grammar", "parse_asdl", "write_asdl"]
