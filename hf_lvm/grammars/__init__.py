"""Transition systems and grammars: how a structure is built step by step. Torch only."""
