"""Grammars and transition systems, which build a structure step by step, and trees as brackets. Torch only; nltk for trees."""
