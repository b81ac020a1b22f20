"""Decoding conditioned on a latent variable."""
