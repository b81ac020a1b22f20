"""The unsupervised recurrent neural network grammar: sentences with binary trees that nobody has drawn (Kim et al. 2019)."""

from hf_lvm.models.urnng.configuration_urnng import URNNGConfig
from hf_lvm.models.urnng.modeling_urnng import URNNGModel, URNNGOutput

__all__ = ["URNNGConfig", "URNNGModel", "URNNGOutput"]
