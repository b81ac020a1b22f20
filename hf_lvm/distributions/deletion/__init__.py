"""Deletions: distributions over which words of a sentence are kept, one mask for each compression."""

from hf_lvm.distributions.deletion.deletion import BestMasks, CanonicalDeletion
from hf_lvm.distributions.deletion.expected_f1 import expected_f1_masks

__all__ = ["BestMasks", "CanonicalDeletion", "expected_f1_masks"]
