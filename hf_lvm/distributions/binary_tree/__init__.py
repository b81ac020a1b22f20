"""Binary trees: distributions over the bracketings of a sentence."""

from hf_lvm.distributions.binary_tree.binary_tree import BinaryTreeCRF
from hf_lvm.distributions.binary_tree.distinct import DistinctTrees
from hf_lvm.distributions.binary_tree.search import BestTrees

__all__ = ["BestTrees", "BinaryTreeCRF", "DistinctTrees"]
