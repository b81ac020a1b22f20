"""`concatenation`: z itself stands beside the embedding of every token, as in the text VAEs with an LSTM."""

import torch
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface
from hf_lvm.layers.injections.base import Injection


class ConcatenationInjection(Injection):
    """latents (B, D) -> what is concatenated to each embedding (B, 1, D).

    Nothing is learned here: the decoder's first layer reads z by weights of its own, made as large as its config's
    `condition_size`.
    """

    name = "concatenation"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        if interface.condition_size is None:
            raise ValueError(
                f"injection 'concatenation' needs a decoder that reads more than embeddings, and a {interface.family!r} "
                "decoder does not: choose the decoder 'lstm' or 'dilated_cnn', or the injection 'embedding'."
            )
        if interface.condition_size != latent_size:
            raise ValueError(
                f"injection 'concatenation' needs a decoder built with condition_size={latent_size} (the latent size), but "
                f"this one has {interface.condition_size}."
            )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.unsqueeze(1)

    def calibrate(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> None:
        """Nothing to scale."""

    def init_weights(self) -> None:
        """Nothing to set."""
