"""Gradient estimators: how the gradient gets through a sample."""

from hf_lvm.estimators.doubly_reparameterized import DoublyReparameterized
from hf_lvm.estimators.reparameterization import Reparameterization

ESTIMATORS = {"reparameterization": Reparameterization(), "dreg": DoublyReparameterized()}

__all__ = ["ESTIMATORS", "DoublyReparameterized", "Reparameterization"]
