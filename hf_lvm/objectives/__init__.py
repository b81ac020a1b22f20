"""Bounds on log p(x), what weighs them and what diagnoses them."""
