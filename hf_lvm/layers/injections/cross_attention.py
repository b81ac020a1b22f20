"""`cross_attention`: z becomes a few states that the decoder attends to, as it would to an encoder's."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface, in_evaluation_mode, probe_inputs
from hf_lvm.layers.injections.base import TARGET_RATIO, Injection, root_mean_square


class CrossAttentionInjection(Injection):
    """latents (B, D) -> states (B, length, attended size), the decoder's `encoder_hidden_states`.

    Raises:
        ValueError: the decoder has no cross-attention layers.
    """

    name = "cross_attention"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        if not interface.has_cross_attention:
            mend = (
                "build it with config.add_cross_attention=True"
                if "encoder_hidden_states" in interface.arguments
                else "choose a decoder such as 'gpt2', 'bart', 't5' or 'lstm', or the injection 'prefix', 'embedding', "
                "'memory' or 'logits'"
            )
            raise ValueError(
                f"injection 'cross_attention' needs cross-attention layers, and this {interface.family!r} decoder has "
                f"none: {mend}."
            )
        self.length = length
        self.projection = nn.Linear(latent_size, length * interface.attended_size)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents).unflatten(-1, (self.length, -1))

    def ratio(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        """How far the states move the output of the first layer that they move, relative to that output without them."""
        embeddings = probe_inputs(decoder, interface.vocab_size).repeat(8, 1, 1)
        states = self(latents[: len(embeddings)])
        with in_evaluation_mode(decoder):
            outputs = [
                decoder(
                    inputs_embeds=embeddings, encoder_hidden_states=given, use_cache=False, output_hidden_states=True
                ).hidden_states[1:]
                for given in (states, torch.zeros_like(states))
            ]
        # The lower LSTMs of a stack do not attend.
        for with_states, without in zip(*outputs, strict=True):
            moved = root_mean_square(with_states.float() - without.float())
            if moved > 0:
                break
        return moved / root_mean_square(without).clamp(min=1e-12)

    @torch.no_grad()
    def calibrate(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> None:
        # Attention is linear in the values but not in the keys: a few proportional corrections settle it.
        for _ in range(4):
            ratio = self.ratio(latents, decoder, interface)
            factor = (TARGET_RATIO / ratio.clamp(min=1e-12)).clamp(1e-3, 1e3)
            self.projection.weight.mul_(factor.to(self.projection.weight.dtype))
