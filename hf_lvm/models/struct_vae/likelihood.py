"""p(x) of sentences, estimated with trees of q."""

from collections.abc import Sequence

import torch

from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights


class MeaningLikelihood:
    """Methods of a StructVAE that estimate the likelihood of sentences."""

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        num_samples: int = 100,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
        word_ids: torch.LongTensor | None = None,
        words: Sequence[Sequence[str]] | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        meaning_ids: torch.LongTensor | None = None,
    ) -> LikelihoodEstimate:
        """log p(x) in nats, without dropout, by importance weighting (Burda et al. 2016): K trees of q(z|x).

        The sum is over trees that q can write, of up to max_actions steps: those beyond it have a p(z), too, so that in the
        limit of many samples the estimate is a lower bound of log p(x) under the whole p(z).

        Args:
            input_ids, attention_mask, word_ids, words, labels: as of `forward`.
            num_samples: K.
            chunk_size: trees of each sentence scored at once; all by default.
            keep_log_weights: return the log weights (K, B) beside the estimate.
            decoder_word_ids, meaning_ids: taken, so that any batch serves, and not used.

        Raises:
            ValueError: a uniform prior, under which there is no p(x).
        """
        if self.prior is None:
            raise ValueError(
                "The prior_type 'uniform' is no distribution, so there is no p(x): choose the prior_type 'model'."
            )
        self.check_labels(labels)
        with in_evaluation_mode(self):
            encoded = self.encoded(input_ids, attention_mask, word_ids, words)
            posterior = self.posterior_of(encoded)
            # Drawn at once, so that the result does not depend on the size of the chunks.
            values = posterior.sample((num_samples,), generator)
            log_weights = []
            for some in values.split(chunk_size or num_samples):
                spelled = self.grammar.spelled_ids(some, encoded.sources)
                joint = self.log_likelihood(labels, spelled).double() + self.log_prior(spelled).double()
                log_weights.append(joint - posterior.log_prob(some).double())
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)
