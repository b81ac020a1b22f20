"""`memory`: z writes keys and values into every layer, as if the decoder had read it before the first token.

The memory scheme of Optimus (Li et al. 2020, section 3.2) with a projection of its own for each layer, key and value.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from hf_lvm.layers.decoder_interface import DecoderInterface, own_memory
from hf_lvm.layers.injections.base import TARGET_RATIO, Injection, root_mean_square


class MemoryInjection(Injection):
    """latents (B, D) -> all keys and values (B, sum over layers of 2 * heads * length * head size), see `split`.

    Args:
        memory_shape: (key/value heads, head size) of each layer.
    """

    name = "memory"

    def __init__(self, latent_size: int, length: int, interface: DecoderInterface, memory_shape):
        super().__init__()
        self.length = length
        self.shapes = [tuple(shape) for shape in memory_shape]
        self.sizes = [heads * length * head_size for heads, head_size in self.shapes for _ in ("keys", "values")]
        self.projection = nn.Linear(latent_size, sum(self.sizes))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.project(latents)

    def split(self, memory: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """[(keys, values)] of each layer, each (B, heads, length, head size)."""
        parts = memory.split(self.sizes, dim=-1)
        shaped = [
            part.unflatten(-1, (heads, self.length, head_size))
            for part, (heads, head_size) in zip(parts, [shape for shape in self.shapes for _ in range(2)], strict=True)
        ]
        return list(zip(shaped[::2], shaped[1::2], strict=True))

    def write(self, memory: torch.Tensor, cache: Cache) -> None:
        """Put the memory into an empty cache, where the decoder takes it for what it has read."""
        for layer, (keys, values) in enumerate(self.split(memory)):
            cache.update(keys, values, layer)

    def ratio(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        """One ratio for each block of keys or values: (2 * layers,). It joins the decoder's own keys and values."""
        own = [states for layer in own_memory(decoder, interface) for states in layer]
        injected = self(latents).split(self.sizes, dim=-1)
        ratios = [
            root_mean_square(part) / root_mean_square(states).clamp(min=1e-12)
            for part, states in zip(injected, own, strict=True)
        ]
        return torch.stack(ratios)

    @torch.no_grad()
    def calibrate(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> None:
        ratio = self.ratio(latents, decoder, interface)
        factors = (TARGET_RATIO / ratio.clamp(min=1e-12)).repeat_interleave(torch.tensor(self.sizes, device=ratio.device))
        self.projection.weight.mul_(factors.unsqueeze(1).to(self.projection.weight.dtype))
