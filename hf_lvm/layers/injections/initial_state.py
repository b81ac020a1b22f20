"""`initial_state`: z is the state an LSTM begins with (He et al. 2019: c = W z, h = tanh(c))."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.layers.decoder_interface import DecoderInterface
from hf_lvm.layers.injections.base import Injection


class InitialStateInjection(Injection):
    """latents (B, D) -> the cell states before the first token (B, layers, H)."""

    name = "initial_state"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape=None):
        super().__init__()
        if "initial_cell" not in interface.arguments:
            raise ValueError(
                f"injection 'initial_state' needs a recurrent decoder, and a {interface.family!r} decoder has no state: "
                "choose the decoder 'lstm', or the injection 'prefix' or 'memory'."
            )
        self.num_layers = interface.num_layers
        self.projection = nn.Linear(latent_size, interface.num_layers * interface.hidden_size, bias=False)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents).unflatten(-1, (self.num_layers, -1))

    def joined(self, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        # A cell state has no scale of its own in a new model; one is the scale at which tanh begins to bend.
        return torch.ones(1, device=decoder.device)
