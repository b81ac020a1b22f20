"""Text in, text out.

A model owns no tokenizer, so every method takes the processor. Each has a tensor twin: `encode`, `generate`.
"""

from collections.abc import Sequence

import torch

from hf_lvm.data import LatentTextProcessor
from hf_lvm.layers.decoder_interface import in_evaluation_mode

MAX_NEW_TOKENS = 64


class TextOperations:
    """Methods of a composed model that read and write strings."""

    def encode_texts(self, texts: str | Sequence[str], *, processor: LatentTextProcessor) -> torch.distributions.Distribution:
        """q(z|x) of texts, without dropout: batch (B,). `.mode` is the latent of each text."""
        inputs = processor(texts).to(self.device)
        with in_evaluation_mode(self):
            return self.encode(inputs["input_ids"], inputs["attention_mask"])

    def decode_latents(self, latents: torch.Tensor, *, processor: LatentTextProcessor, **options) -> list[str]:
        """The texts of B latents; `options` are those of `generate` (greedy by default)."""
        if not {"max_length", "generation_config"} & options.keys():
            prompt = options.get("decoder_input_ids")
            options.setdefault("max_new_tokens", self._room_for_tokens(0 if prompt is None else prompt.shape[1]))
        with in_evaluation_mode(self):
            return processor.batch_decode(self.generate(latents=latents.to(self.device), **options))

    def sample(self, num_texts: int = 8, *, processor: LatentTextProcessor, generator=None, **options) -> list[str]:
        """New texts: z from the prior, then (with `do_sample=True`, the default) words from p(x|z).

        Args:
            generator: for z; the words use torch's global generator.
        """
        options = {"do_sample": True, "top_k": 0} | options
        latents = self.prior_of(num_texts).sample(generator=generator)
        return self.decode_latents(latents, processor=processor, **options)

    def reconstruct(self, texts: str | Sequence[str], *, processor: LatentTextProcessor, **options) -> list[str]:
        """Each text encoded to the mode of q(z|x) and written again."""
        return self.decode_latents(self.encode_texts(texts, processor=processor).mode, processor=processor, **options)

    def _room_for_tokens(self, prompt_length: int = 0) -> int:
        limit = self.positions_left
        return MAX_NEW_TOKENS if limit is None else min(MAX_NEW_TOKENS, limit - 1 - prompt_length)
