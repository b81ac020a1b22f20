"""p(x) of sentences: summed over all their compressions where that is possible, importance-weighted otherwise."""

import torch

from hf_lvm.distributions import CanonicalDeletion, Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights

METHODS = ("auto", "exact", "importance")


class SummaryLikelihood:
    """Methods of a latent summarizer that compute or estimate the likelihood of sentences."""

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
        decoder_word_ids: torch.LongTensor | None = None,
        kept: torch.Tensor | None = None,
        summary_ids: torch.LongTensor | None = None,
        method: str = "auto",
    ) -> LikelihoodEstimate:
        """log p(x) in nats, without dropout.

        Compressions are what the model allows: words of the sentence under `delete` and `pointer`, so that a p(c) over all
        texts counts with its mass on these only, and log p(x) is a lower bound of that of the model without them.

        Args:
            input_ids, attention_mask, word_ids: (B, S), read by q(c|x) as the proposal; not used by `exact`.
            labels, decoder_word_ids: (B, T), see `forward`.
            num_samples: of `importance`: K compressions, without the config's target_ratio. The bound rises with K towards
                log p(x) (Burda et al. 2016).
            chunk_size: compressions of each sentence scored at once; all by default.
            keep_log_weights: return the log weights (K, B) of `importance` beside the estimate.
            kept, summary_ids: taken, so that batches with compressions serve, and not used.
            method: `exact`, the sum over all compressions, where posterior, prior and decoder are sums over pairs of words;
                `importance`; or `auto`, the first where it can be.

        Raises:
            ValueError: another method, or `exact` for a model that cannot.
        """
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}: choose one of {', '.join(map(repr, METHODS))}.")
        if method == "exact" and not self.config.is_exact:
            raise ValueError(
                "The sum over all compressions is for posterior_type 'delete' with a segment decoder and a bigram prior: "
                "choose the method 'importance'."
            )
        source = self.source_of(labels, decoder_word_ids)
        with in_evaluation_mode(self):
            pairs = self.pair_log_probs(source)
            if method != "importance" and self.config.is_exact:
                every = CanonicalDeletion(torch.zeros_like(pairs.prior), source.words, source.lengths, self.config.allow_empty)
                posterior = self.exact_posterior(every, pairs)
                log_likelihood, factors = posterior.log_partition, self.log_length_factors(source.num_words)
                if factors is not None:
                    log_likelihood = log_likelihood + (posterior.count_log_probs + factors).logsumexp(-1)
                return LikelihoodEstimate.exactly(log_likelihood)
            encoded = self.encoded(source, input_ids, attention_mask, word_ids)
            proposal = self.posterior_head(encoded, source, extractive=self.config.bound_is_extractive)
            # Drawn at once, so that the result does not depend on the size of the chunks.
            values = proposal.sample((num_samples,), generator)
            log_weights = [
                self.log_likelihood(source, some, None, pairs).double()
                + self.log_prior(source, some, pairs).double()
                - proposal.log_prob(some).double()
                for some in values.split(chunk_size or num_samples)
            ]
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)
