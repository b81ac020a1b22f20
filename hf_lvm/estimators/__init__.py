"""Gradient estimators: how the gradient gets through a sample."""

from hf_lvm.estimators.reparameterization import draw_reparameterized

ESTIMATORS = {"reparameterization": draw_reparameterized}

__all__ = ["ESTIMATORS", "draw_reparameterized"]
