"""Deletions: distributions over which words of a sentence are kept, one mask for each compression."""

from hf_lvm.distributions.deletion.deletion import BestMasks, CanonicalDeletion

__all__ = ["BestMasks", "CanonicalDeletion"]
