"""The text VAE: a latent vector between any encoder and any decoder (Bowman et al. 2015)."""

from hf_lvm.models.text_vae.configuration_text_vae import TextVAEConfig
from hf_lvm.models.text_vae.modeling_text_vae import TextVAEModel, TextVAEOutput

__all__ = ["TextVAEConfig", "TextVAEModel", "TextVAEOutput"]
