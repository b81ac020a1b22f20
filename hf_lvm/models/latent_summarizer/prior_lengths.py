"""A model of lengths in the prior: p(c) = p(|c|) p(c given |c|), where both factors are exact.

A language model takes some nats for every word, so that by itself it prefers a c without any. Divided by the probability of
all texts that are as long as c, which of a bigram model is a sum over paths of so many steps, it compares texts of one length,
and a table says how long c is. The bound stays one: p(c) is a distribution, over all lengths and texts.
"""

import torch

from hf_lvm.layers.length_table import LengthTable
from hf_lvm.layers.word_softmax import log_not
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.source_words import IGNORED, SourceWords


class PriorLengths:
    """Methods of a latent summarizer about the length of c under p(c)."""

    @staticmethod
    def build_length_table(config: LatentSummarizerConfig) -> LengthTable | None:
        """p(|c|), where the config has one."""
        if config.length_model is None:
            return None
        return LengthTable(config.length_table_size, 0 if config.allow_empty else 1)

    def log_length_factors(self, most: int) -> torch.Tensor | None:
        """log p(|c|) less the log-probability that the prior by itself gives to texts so long: (most + 1,), nats.

        To be added to the prior's own log-probability of a c of 0 to `most` tokens; -inf where there is no such c. None
        without a length model. Where the prior learns, V^2 probabilities are computed and kept for the gradient, for V words;
        where it does not, they are computed once.
        """
        if self.length_table is None:
            return None
        config = self.config
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.train_prior):
            log_probs = self._log_length_probs(most)
            if not config.allow_empty:
                log_probs = log_probs - log_not(log_probs[0])
            return self.length_table(most).to(log_probs.dtype) - log_probs

    def log_length_factor(self, source: SourceWords, latents: torch.Tensor) -> torch.Tensor | None:
        """The factor of each of compressions (R, B, ...): (R, B)."""
        if self.length_table is None:
            return None
        counts = self.posterior_head.counts_of(latents, source)
        if not source.are_tokens and latents.dtype == torch.bool:
            # Kept words may be several tokens each, and the prior's sequences are of these.
            counts = (source.labels_of_masks(latents) != IGNORED).sum(-1) - 1
        return self.log_length_factors(max(source.labels.shape[1], latents.shape[-1]))[counts]

    def _log_length_probs(self, most: int) -> torch.Tensor:
        """Of the prior by itself: (most + 1,). Kept while its weights stay as they are."""
        arguments = self.config.prior_start_and_end
        if self.config.train_prior:
            return self.prior.log_length_probs(most, *arguments)
        state = tuple((id(each), each._version, each.device, each.dtype) for each in self.prior.parameters())
        known, kept = getattr(self, "_kept_length_probs", (None, None))
        if known != state or len(kept) <= most:
            kept = self.prior.log_length_probs(most, *arguments).detach()
            self._kept_length_probs = (state, kept)
        return kept[: most + 1]
