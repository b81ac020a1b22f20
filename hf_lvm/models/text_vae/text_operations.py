"""What one does with a space of sentences: walk from one to another, calculate with them, fill a blank.

A model owns no tokenizer, so every method takes the processor.
"""

from hf_lvm.backbones.composition import TextOperations
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import interpolate_latents
from hf_lvm.models.text_vae.imputation import impute


class LatentSpaceOperations(TextOperations):
    """Methods of a text VAE that read and write strings, `TextOperations` among them."""

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
