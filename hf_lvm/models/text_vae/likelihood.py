"""p(x|z) and p(x) of sentences under a text VAE."""

import torch

from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.text_vae.lengths import check_length
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights
from hf_lvm.objectives.likelihood import sentence_nll

# Logits held at once while a likelihood is estimated, in numbers: enough to keep a GPU busy, few enough for a CPU's cache.
MAX_LOGITS = {"cpu": 2**22, "cuda": 2**26}


class Likelihood:
    """Methods of a text VAE that score sentences."""

    def decode(self, latents: torch.Tensor, decoder_input_ids: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of a decoder that reads tokens (B, T) under latents (B, D).

        Raises:
            ValueError: another number of latents than of sentences, or sentences longer than the decoder's positions.
        """
        if latents.shape[0] != decoder_input_ids.shape[0]:
            raise ValueError(
                f"Got {latents.shape[0]} latents for {decoder_input_ids.shape[0]} sentences: give one latent a sentence."
            )
        check_length(decoder_input_ids.shape[1], self.positions_left, "decoder", self.config.decoder.model_type)
        return self.conditioning.decode(self.decoder, decoder_input_ids, self.condition(latents)).logits

    def score(
        self, samples: torch.Tensor, decoder_input_ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(x|z) of samples (K, B, D), nats per sentence: (K, B); and the logits (B, T, V) of the first sample."""
        count, batch = samples.shape[:2]
        logits = self.decode(samples.flatten(0, 1), decoder_input_ids.repeat(count, 1))
        return sentence_nll(logits, labels.repeat(count, 1)).view(count, batch), logits[:batch]

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None,
        labels: torch.LongTensor,
        num_samples: int = 500,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
    ) -> LikelihoodEstimate:
        """log p(x) in nats by importance weighting with q(z|x) as the proposal (Burda et al. 2016), without dropout.

        Args:
            num_samples: K. The bound rises with K towards log p(x).
            chunk_size: samples decoded at once; by default as many as keep the logits small: 16 MB on a CPU, 256 MB
                elsewhere.
            keep_log_weights: return the log weights (K, B) beside the estimate.

        Returns:
            `.log_likelihood`, `.standard_error`, `.effective_sample_size`, `.low_sample_size`, each (B,).
        """
        if chunk_size is None:
            limit = MAX_LOGITS.get(labels.device.type, MAX_LOGITS["cuda"])
            chunk_size = max(1, limit // (labels.numel() * self.conditioning.interface.vocab_size))
        decoder_input_ids = self.shift_right(labels)
        with in_evaluation_mode(self):
            posterior = self.infer(input_ids, attention_mask, labels, decoder_input_ids, generator)
            prior = self.prior_of(labels.shape[0])
            log_weights = []
            # Drawn at once, so that the result does not depend on the size of the chunks.
            for samples in posterior.sample((num_samples,), generator).split(chunk_size):
                nll, _ = self.score(samples, decoder_input_ids, labels)
                log_weights.append(prior.log_prob(samples) - posterior.log_prob(samples) - nll)
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)
