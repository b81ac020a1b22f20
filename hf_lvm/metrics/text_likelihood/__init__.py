"""Perplexities and bits per byte from nats per sentence."""
