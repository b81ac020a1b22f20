"""`embedding`: z is added to the embedding of every token, so no step can forget it."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface
from hf_lvm.layers.injections.base import Injection, token_embeddings


class EmbeddingInjection(Injection):
    """latents (B, D) -> what is added to each embedding (B, 1, embedding size)."""

    name = "embedding"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        self.projection = nn.Linear(latent_size, interface.embedding_dim, bias=False)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents).unsqueeze(1)

    def joined(self, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        return token_embeddings(decoder, interface)
