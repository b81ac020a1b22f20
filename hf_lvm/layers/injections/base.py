"""What all injections share: a linear map of z, scaled to what it joins."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from hf_lvm.layers.decoder_interface import DecoderInterface

# Half as loud as what it joins: large enough to be heard from the first step, small enough that the decoder still sees
# the token it has just written (an injection several times larger than the embeddings makes decoders repeat themselves).
TARGET_RATIO = 0.5


class Injection(nn.Module):
    """One way for z to enter a decoder.

    A subclass sets `name`, builds `self.projection`, computes what the decoder is given in `forward`, and says in `joined`
    what that meets in the decoder, so that `calibrate` can bring the two to one scale.
    """

    name: str
    projection: nn.Linear

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """What the decoder is given for latents (B, D)."""
        raise NotImplementedError

    def joined(self, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        """Typical values of what the injected part is added to or stands beside, in the shape of its last dimensions."""
        raise NotImplementedError

    def project(self, latents: torch.Tensor) -> torch.Tensor:
        """The projection in the dtype of its weight: latents are float32 even beside a bfloat16 decoder."""
        return self.projection(latents.to(self.projection.weight.dtype))

    def ratio(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> torch.Tensor:
        """RMS of the injected part over RMS of what it joins, a scalar (or one a layer)."""
        return root_mean_square(self(latents)) / root_mean_square(self.joined(decoder, interface)).clamp(min=1e-12)

    @torch.no_grad()
    def calibrate(self, latents: torch.Tensor, decoder: PreTrainedModel, interface: DecoderInterface) -> None:
        """Scale the projection so that typical latents (N, D) are heard at `TARGET_RATIO` of what they join."""
        ratio = self.ratio(latents, decoder, interface)
        self.projection.weight.mul_((TARGET_RATIO / ratio.clamp(min=1e-12)).to(self.projection.weight.dtype))

    def init_weights(self) -> None:
        """Unit outputs for unit latents; `calibrate` sets the scale once the decoder's weights are known."""
        init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)
        if self.projection.bias is not None:
            init.zeros_(self.projection.bias)


def root_mean_square(values: torch.Tensor) -> torch.Tensor:
    """Square root of the mean square of all entries, in float32."""
    return values.float().square().mean().sqrt()


def token_embeddings(decoder: PreTrainedModel, interface: DecoderInterface, count: int = 512) -> torch.Tensor:
    """Embeddings of tokens spread over the vocabulary, as the decoder reads them (scaled where it scales): (N, E)."""
    embed = decoder.get_input_embeddings()
    ids = torch.linspace(0, interface.vocab_size - 1, min(count, interface.vocab_size)).long()
    return embed(ids.to(embed.weight.device)).detach()
