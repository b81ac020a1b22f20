"""Gradient estimators against the exact gradient: bias, variance, cosine and time."""
