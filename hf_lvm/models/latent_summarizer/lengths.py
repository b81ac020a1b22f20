"""How long c is: the number of words that q is given, and a model of lengths in the prior.

A language model takes some nats for every word, so that by itself it prefers a c without any. With a model of lengths
p(c) = p(|c|) p(c given |c|), and both factors are exact: a table says how long c is, and texts of one length are compared, as
the language model is divided by the probability of all texts so long, which of bigrams is a sum over paths of so many steps.
The bound stays one: p(c) is a distribution, over all lengths and texts.
"""

import torch

from hf_lvm.distributions import Generators
from hf_lvm.distributions.noise import noise_of_positions
from hf_lvm.layers.length_table import LengthTable
from hf_lvm.layers.word_softmax import log_not
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.source_words import IGNORED, SourceWords


class Lengths:
    """Methods of a latent summarizer about the length of c."""

    def counts_for(
        self, source: SourceWords, ratio: float | None = None, *, sampled: bool = False, generator: Generators = None
    ) -> torch.Tensor | None:
        """How many words c shall have, (B,): the config's ratio, or the one given; None for any number.

        Args:
            sampled: whether in training the config's ratio is drawn for each sentence, as far as its spread reaches.
            generator: None, one generator, or one for each row.
        """
        config, given = self.config, ratio
        ratio = config.target_ratio if given is None else given
        if ratio is None:
            return None
        if sampled and given is None and config.target_ratio_spread and self.training:
            noise = noise_of_positions((), len(source.lengths), 1, generator, source.lengths.device).squeeze(-1)
            ratio = ratio + config.target_ratio_spread * (2.0 * noise - 1.0)
        return (source.lengths * ratio).round().long().clamp(min=1)

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
