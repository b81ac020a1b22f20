"""The latent summarizer: z is a short sentence that must explain a long one (Miao and Blunsom 2016)."""

from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.modeling_latent_summarizer import LatentSummarizerModel, LatentSummarizerOutput

__all__ = ["LatentSummarizerConfig", "LatentSummarizerModel", "LatentSummarizerOutput"]
