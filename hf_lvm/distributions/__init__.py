"""Distributions over latents as torch.distributions objects."""

from hf_lvm.distributions.binary_tree import BestTrees, BinaryTreeCRF, DistinctTrees
from hf_lvm.distributions.categorical_vector import CategoricalVector, count_classes, support_in_words
from hf_lvm.distributions.deletion import BestMasks, CanonicalDeletion
from hf_lvm.distributions.dirichlet import Dirichlet
from hf_lvm.distributions.flow import NormalizingFlow
from hf_lvm.distributions.gaussian import DiagonalGaussian, standard_normal
from hf_lvm.distributions.interpolation import INTERPOLATION_PATHS, interpolate_latents
from hf_lvm.distributions.linear_chain import BestPaths, LinearChainCRF
from hf_lvm.distributions.mixture import GaussianMixture
from hf_lvm.distributions.noise import Generators, normal_noise, uniform_noise
from hf_lvm.distributions.uniform_symbols import UniformSymbols
from hf_lvm.distributions.von_mises_fisher import HypersphericalUniform, VonMisesFisher

__all__ = [
    "INTERPOLATION_PATHS",
    "BestMasks",
    "BestPaths",
    "BestTrees",
    "BinaryTreeCRF",
    "CanonicalDeletion",
    "CategoricalVector",
    "DiagonalGaussian",
    "Dirichlet",
    "DistinctTrees",
    "GaussianMixture",
    "Generators",
    "HypersphericalUniform",
    "LinearChainCRF",
    "NormalizingFlow",
    "UniformSymbols",
    "VonMisesFisher",
    "count_classes",
    "interpolate_latents",
    "normal_noise",
    "standard_normal",
    "support_in_words",
    "uniform_noise",
]
