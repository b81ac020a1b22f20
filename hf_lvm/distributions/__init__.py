"""Distributions over latents as torch.distributions objects."""
