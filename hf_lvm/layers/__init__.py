"""Latent heads, poolings and injections: the pieces between two language models."""
