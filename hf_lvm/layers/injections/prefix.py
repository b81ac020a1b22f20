"""`prefix`: z becomes a few soft tokens that stand before the sentence (Li and Liang 2021 without the sentence's z)."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface
from hf_lvm.layers.injections.base import Injection, token_embeddings


class PrefixInjection(Injection):
    """latents (B, D) -> soft tokens (B, length, embedding size)."""

    name = "prefix"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        if interface.receptive_field is not None:
            raise ValueError(
                f"injection 'prefix' is forgotten by a {interface.family!r} decoder as soon as it lies more than "
                f"{interface.receptive_field} tokens back: choose 'concatenation' or 'embedding'."
            )
        self.length = length
        self.projection = nn.Linear(latent_size, length * interface.embedding_dim)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents).unflatten(-1, (self.length, -1))

    def joined(self, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        return token_embeddings(decoder, interface)
