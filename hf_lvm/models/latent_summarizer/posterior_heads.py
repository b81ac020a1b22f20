"""q(c|x): from the states of a sentence's words to a distribution over its compressions, and what a value of it is."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution

from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.layers.pair_scores import PairScorer
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.source_words import IGNORED, SourceWords


@dataclass(frozen=True)
class EncodedWords:
    """What an encoder has read of B sentences.

    Attributes:
        states: (B, n, H), of each word; 0 past the length.
        features: (B, H), their mean.
    """

    states: torch.Tensor
    features: torch.Tensor

    def select(self, rows: torch.Tensor) -> "EncodedWords":
        """Some of the rows (R,)."""
        return EncodedWords(self.states[rows], self.features[rows])


class DeletionHead(nn.Module):
    """Which words are kept, a chain over the kept ones: `CanonicalDeletion`, values masks (B, n)."""

    def __init__(self, config: LatentSummarizerConfig):
        super().__init__()
        self.allow_empty = config.allow_empty
        self.scores = PairScorer(config.encoder.hidden_size, config.pair_hidden_size, config.posterior_dropout)

    def forward(self, encoded: EncodedWords, source: SourceWords, counts: torch.Tensor | None = None) -> CanonicalDeletion:
        """q(c|x), or with counts (B,) q(c | x, so many words)."""
        scores = self.scores(encoded.states, source.lengths)
        return CanonicalDeletion(scores, source.words, source.lengths, self.allow_empty, counts)

    def labels_of(self, values: torch.Tensor, source: SourceWords) -> torch.Tensor:
        """Values (R, B, n) as tokens with their end, -100 behind it: (R, B, L)."""
        return source.labels_of_masks(values)

    def counts_of(self, values: torch.Tensor, source: SourceWords) -> torch.Tensor:
        """Words of values (..., B, n): (..., B)."""
        return values.sum(-1)

    def told(
        self, source: SourceWords, kept: torch.Tensor | None, summary_ids: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Known values (B, n) and which rows have one (B,); None where a batch has none.

        Raises:
            ValueError: masks of another shape, or of words that are not there; summaries without masks.
        """
        if kept is None:
            if summary_ids is not None and bool((summary_ids != IGNORED).any()):
                raise ValueError(
                    "A deletion is told by the words it keeps: pass kept, (B, n) bool, beside summary_ids or instead."
                )
            return None
        if kept.shape != source.words.shape or kept.dtype != torch.bool:
            raise ValueError(
                f"kept has shape {tuple(kept.shape)} and type {kept.dtype}: bool of shape {tuple(source.words.shape)} is "
                "needed, True at the words of the compression and all False where none is known."
            )
        outside = (kept & ~source.inside).any(1)
        if may_look(kept, False) and outside.any():
            raise ValueError(f"kept keeps words past the end of the sentence(s) of row(s) {rows_of(outside)}.")
        return kept, kept.any(1)

    def canonical(self, posterior: CanonicalDeletion, values: torch.Tensor) -> torch.Tensor:
        """The values that stand for the same compressions in `posterior`."""
        return posterior.canonical(values)

    def init_weights(self) -> None:
        """Where no weights were loaded."""
        self.scores.init_weights()


POSTERIOR_HEADS: dict[str, type[nn.Module]] = {"delete": DeletionHead}


def entropy_of(posterior: Distribution) -> torch.Tensor | None:
    """(B,), nats, where there is a closed form; None otherwise."""
    return posterior.entropy() if isinstance(posterior, CanonicalDeletion) else None
