"""What one does with a space of sentences: walk from one to another, calculate with them, fill a blank.

A model owns no tokenizer, so every method takes the processor.
"""

from collections.abc import Sequence

from torch.distributions import Distribution

from hf_lvm.backbones.composition import TextOperations
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators, interpolate_latents
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.text_vae.imputation import impute


class LatentSpaceOperations(TextOperations):
    """Methods of a text VAE that read and write strings, `TextOperations` among them.

    Of a conditional VAE they take `conditions`, the texts c of q(z|x, c) and p(z|c), one for each text.
    """

    def encode_texts(
        self,
        texts: str | Sequence[str],
        *,
        processor: LatentTextProcessor,
        conditions: str | Sequence[str] | None = None,
    ) -> Distribution:
        """q(z|x) of texts, without dropout: batch (B,). `.mode` is the latent of each text.

        Args:
            conditions: one for each text, with a `conditional_gaussian` prior.
        """
        inputs = processor(texts, conditions=conditions).to(self.device)
        inputs.pop("labels")
        with in_evaluation_mode(self):
            return self.encode(**inputs)

    def reconstruct(
        self,
        texts: str | Sequence[str],
        *,
        processor: LatentTextProcessor,
        conditions: str | Sequence[str] | None = None,
        **options,
    ) -> list[str]:
        """Each text encoded to the mode of q(z|x) and written again; see `encode_texts`."""
        latents = self.encode_texts(texts, processor=processor, conditions=conditions).mode
        return self.decode_latents(latents, processor=processor, **options)

    def sample(
        self,
        num_texts: int | None = None,
        *,
        processor: LatentTextProcessor,
        conditions: str | Sequence[str] | None = None,
        generator: Generators = None,
        **options,
    ) -> list[str]:
        """New texts: z from the prior, then (with `do_sample=True`, the default) words from p(x|z).

        Args:
            num_texts: 8 where it is None; with conditions as many for each, one where it is None.
            conditions: C texts, with a `conditional_gaussian` prior; those of the first come first.
            generator: for z; the words use torch's global generator.

        Raises:
            ValueError: conditions for a prior that reads none, or none for one that does.
        """
        if conditions is None:
            count = 8 if num_texts is None else num_texts
            return super().sample(count, processor=processor, generator=generator, **options)
        conditions = [conditions] if isinstance(conditions, str) else list(conditions)
        conditions = [condition for condition in conditions for _ in range(num_texts or 1)]
        about = processor(conditions).to(self.device)
        with in_evaluation_mode(self):
            prior = self.prior_of(len(conditions), about["input_ids"], about["attention_mask"])
        options = {"do_sample": True, "top_k": 0} | options
        return self.decode_latents(prior.sample(generator=generator), processor=processor, **options)

    def interpolate(
        self,
        start: str,
        end: str,
        *,
        processor: LatentTextProcessor,
        steps: int = 7,
        path: str = "linear",
        conditions: str | Sequence[str] | None = None,
        **options,
    ) -> list[str]:
        """`steps` texts on the way from one text to another, the reconstructions of both included.

        Args:
            path: `linear` or `spherical`, see `interpolate_latents`.
            conditions: of a conditional VAE that of each end, or one for both.
        """
        ends = self.encode_texts([start, end], processor=processor, conditions=_one_each(conditions, 2)).mode
        latents = interpolate_latents(ends[0], ends[1], steps, path)
        return self.decode_latents(latents, processor=processor, **options)

    def analogy(
        self,
        a: str,
        b: str,
        c: str,
        *,
        processor: LatentTextProcessor,
        conditions: str | Sequence[str] | None = None,
        **options,
    ) -> str:
        """The text that is to `c` as `b` is to `a`: the decoding of z(b) - z(a) + z(c).

        Args:
            conditions: of a conditional VAE those of `a`, `b` and `c`, or one for all.
        """
        z_a, z_b, z_c = self.encode_texts([a, b, c], processor=processor, conditions=_one_each(conditions, 3)).mode
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
        condition: str | None = None,
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
            condition=condition,
        )


def _one_each(conditions: str | Sequence[str] | None, count: int) -> Sequence[str] | None:
    """One condition a text: a single one is that of all."""
    return [conditions] * count if isinstance(conditions, str) else conditions
