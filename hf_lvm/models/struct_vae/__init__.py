"""StructVAE: a sentence's meaning as a latent tree of a grammar (Yin et al. 2018)."""

from hf_lvm.models.struct_vae.configuration_struct_vae import StructVAEConfig
from hf_lvm.models.struct_vae.meanings_and_texts import ScoredMeaning
from hf_lvm.models.struct_vae.modeling_struct_vae import StructVAEModel, StructVAEOutput

__all__ = ["ScoredMeaning", "StructVAEConfig", "StructVAEModel", "StructVAEOutput"]
