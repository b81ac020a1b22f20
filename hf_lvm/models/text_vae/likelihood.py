"""p(x) of sentences under a text VAE, by importance weighting."""

import torch

from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights


class Likelihood:
    """Methods of a text VAE that estimate the likelihood of sentences."""

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None,
        labels: torch.LongTensor,
        num_samples: int = 500,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> LikelihoodEstimate:
        """log p(x) in nats by importance weighting with q(z|x) as the proposal (Burda et al. 2016), without dropout.

        Args:
            num_samples: K. The bound rises with K towards log p(x).
            chunk_size: samples decoded at once; by default as many as keep the logits small: 16 MB on a CPU, 256 MB
                elsewhere.
            keep_log_weights: return the log weights (K, B) beside the estimate.
            condition_input_ids, condition_attention_mask: (B, C), the texts c of log p(x|c) with a `conditional_gaussian`
                prior.

        Returns:
            `.log_likelihood`, `.standard_error`, `.effective_sample_size`, `.low_sample_size`, each (B,).

        Raises:
            ValueError: no labels.
        """
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        if chunk_size is None:
            chunk_size = self.samples_at_once(labels)
        decoder_input_ids = self.shift_right(labels)
        with in_evaluation_mode(self):
            conditions = {
                "condition_input_ids": condition_input_ids,
                "condition_attention_mask": condition_attention_mask,
            }
            posterior = self.infer(input_ids, attention_mask, labels, decoder_input_ids, generator, **conditions)
            prior = self.prior_of(labels.shape[0], **conditions)
            log_weights = []
            # Drawn at once, so that the result does not depend on the size of the chunks.
            for samples in posterior.sample((num_samples,), generator).split(chunk_size):
                nll, _ = self.score(samples, decoder_input_ids, labels)
                log_weights.append(prior.log_prob(samples) - posterior.log_prob(samples) - nll)
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)
