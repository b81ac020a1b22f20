"""Text in, text out: what one does with a space of sentences, a line each.

A model owns no tokenizer, so every method takes the processor. Each has a tensor twin: `encode`, `generate`,
`interpolate_latents`.
"""

from collections.abc import Sequence

import torch

from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import interpolate_latents
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.text_vae.imputation import impute

MAX_NEW_TOKENS = 64


class TextOperations:
    """Methods of a text VAE that read and write strings."""

    def encode_texts(self, texts: str | Sequence[str], *, processor: LatentTextProcessor) -> torch.distributions.Distribution:
        """q(z|x) of texts, without dropout: a distribution over (B, D). `.mode` is the place of each text."""
        inputs = processor(texts).to(self.device)
        with in_evaluation_mode(self):
            return self.encode(inputs["input_ids"], inputs["attention_mask"])

    def decode_latents(self, latents: torch.Tensor, *, processor: LatentTextProcessor, **options) -> list[str]:
        """The texts of latents (B, D); `options` are those of `generate` (greedy by default)."""
        options.setdefault("max_new_tokens", self._room_for_tokens())
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
        """Each text encoded to the mean of q(z|x) and written again."""
        return self.decode_latents(self.encode_texts(texts, processor=processor).mode, processor=processor, **options)

    def interpolate(
        self,
        start: str,
        end: str,
        *,
        processor: LatentTextProcessor,
        steps: int = 7,
        path: str = "linear",
        **options,
    ) -> list[str]:
        """`steps` texts on the way from one text to another, the reconstructions of both included.

        Args:
            path: `linear` or `spherical`, see `interpolate_latents`.
        """
        ends = self.encode_texts([start, end], processor=processor).mode
        latents = interpolate_latents(ends[0], ends[1], steps, path)
        return self.decode_latents(latents, processor=processor, **options)

    def analogy(self, a: str, b: str, c: str, *, processor: LatentTextProcessor, **options) -> str:
        """The text that is to `c` as `b` is to `a`: the decoding of z(b) - z(a) + z(c)."""
        z_a, z_b, z_c = self.encode_texts([a, b, c], processor=processor).mode
        return self.decode_latents((z_b - z_a + z_c).unsqueeze(0), processor=processor, **options)[0]

    def impute(
        self,
        text: str,
        *,
        processor: LatentTextProcessor,
        blank: str = "___",
        rounds: int = 3,
        num_candidates: int = 16,
        max_words: int = 6,
        num_samples: int = 32,
        generator=None,
    ) -> str:
        """The text with its blank filled, both sides of it kept as they are; see `hf_lvm.models.text_vae.imputation`."""
        return impute(
            self,
            text,
            processor,
            blank=blank,
            rounds=rounds,
            num_candidates=num_candidates,
            max_words=max_words,
            num_samples=num_samples,
            generator=generator,
        )

    def _room_for_tokens(self) -> int:
        limit = self.positions_left
        return MAX_NEW_TOKENS if limit is None else min(MAX_NEW_TOKENS, limit - 1)
