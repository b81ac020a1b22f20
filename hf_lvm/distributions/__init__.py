"""Distributions over latents as torch.distributions objects."""

from hf_lvm.distributions.gaussian import DiagonalGaussian, standard_normal
from hf_lvm.distributions.interpolation import INTERPOLATION_PATHS, interpolate_latents
from hf_lvm.distributions.noise import Generators, normal_noise

__all__ = [
    "INTERPOLATION_PATHS",
    "DiagonalGaussian",
    "Generators",
    "interpolate_latents",
    "normal_noise",
    "standard_normal",
]
