"""Corpora, tokenizers, collators and the processor."""
