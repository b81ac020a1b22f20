"""The latent class model: a vector of categories between any encoder and any decoder (first choose a class, then write)."""

from hf_lvm.models.latent_class.configuration_latent_class import LatentClassConfig
from hf_lvm.models.latent_class.modeling_latent_class import LatentClassModel, LatentClassOutput

__all__ = ["LatentClassConfig", "LatentClassModel", "LatentClassOutput"]
