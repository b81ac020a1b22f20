"""Gradient estimators: how the gradient gets through a sample."""
