"""Transition systems and grammars: how a structure is built step by step; trees as brackets. Torch only, nltk for trees."""
