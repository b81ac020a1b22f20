"""`logits`: z is a bias over the vocabulary: which words, with no say in their order."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface, in_evaluation_mode, probe_inputs
from hf_lvm.layers.injections.base import Injection


class LogitsInjection(Injection):
    """latents (B, D) -> what is added to the logits of every step (B, 1, V)."""

    name = "logits"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        self.projection = nn.Linear(latent_size, interface.vocab_size, bias=False)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents).unsqueeze(1)

    def joined(self, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        with in_evaluation_mode(decoder):
            logits = decoder(inputs_embeds=probe_inputs(decoder, interface.vocab_size), use_cache=False).logits.float()
        # A constant over the vocabulary changes no probability, so it is no part of the scale.
        return logits - logits.mean(-1, keepdim=True)
