"""Encoders and decoders of our own that stand wherever a transformer does."""
