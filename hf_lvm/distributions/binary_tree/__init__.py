"""Binary trees: distributions over the bracketings of a sentence."""

from hf_lvm.distributions.binary_tree.binary_tree import BestTrees, BinaryTreeCRF
from hf_lvm.distributions.binary_tree.distinct import DistinctTrees

__all__ = ["BestTrees", "BinaryTreeCRF", "DistinctTrees"]
