"""Latent-variable language models for transformers."""
