"""Text in, summary out, with what speaks for it.

A model owns no tokenizer, so every method takes the processor. `encode` is the tensor twin.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from hf_lvm.backbones.encoders import check_positions
from hf_lvm.data import CompressionCollator, LatentTextProcessor
from hf_lvm.data.processor import split_texts
from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.deletion import expected_f1_masks
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.latent_summarizer.source_words import SourceWords

logger = logging.getLogger(__name__)

Texts = str | Sequence[str | Sequence[str]]

DECODINGS = ("mode", "expected_f1")


@dataclass(frozen=True)
class ScoredSummary:
    """A summary of a text; all numbers in nats.

    Attributes:
        text: its words, separated by blanks.
        log_prob: log q(c|x), given the number of words where that was asked for.
        log_prior: log p(c).
        reconstruction: log p(x|c).
        explained: log p(x|c) - log p(x | empty c): what the summary tells of the text.
        num_words: its words, or symbols.
    """

    text: str
    log_prob: float
    log_prior: float
    reconstruction: float
    explained: float
    num_words: int


@dataclass(frozen=True)
class WordCredit:
    """What one word of a summary is worth.

    Attributes:
        word: of the summary.
        nats: log p(x|c) less that of c without the word.
    """

    word: str
    nats: float


class TextsAndSummaries:
    """Methods of a latent summarizer that read and write strings."""

    def summarize(
        self,
        texts: Texts,
        *,
        processor: LatentTextProcessor,
        ratio: float | None = None,
        words: int | None = None,
        decoding: str = "mode",
        word_bonus: float = 0.0,
        extractive: bool = False,
        num_beams: int = 8,
        batch_size: int = 64,
    ) -> list[str]:
        """The most probable compression of each text under q(c|x); under the objective `marginal` under p(c|x) itself.

        Args:
            texts: one text, or several: strings, whose words are separated by blanks, or lists of words.
            ratio: words of the summary to words of the text, above 0 and up to 1; the rounded product, one at least.
            words: of the summary; a text that has fewer keeps all of them, and the log says so. Without either, the config's
                target_ratio, or as many as q likes.
            decoding: `mode`, the most probable compression; or of `delete` `expected_f1`, the words that agree best with all
                that q holds for possible (see `hf_lvm.distributions.deletion.expected_f1_masks`), which are a few more.
            word_bonus: of `delete`, nats that each word of a summary adds to log q: above 0 summaries are longer, below it
                shorter, each text by as much as q can bear. `hf_lvm.analysis.summary_length.bonus_for_ratio` finds the one
                with which many texts together have a ratio.
            extractive: of `pointer_vocab`, words of the text alone, by its pointers; otherwise the mixture that learns from
                known compressions. `delete` and `pointer` always are, and `vocab` cannot be.
            num_beams: of posteriors that write symbol by symbol; a deletion is found exactly.

        Raises:
            ValueError: a text without words, or one that the tokenizers cannot cut by words; the row is named. A ratio or a
                number that is none, or an option for a posterior that cannot be given it.
        """
        options = {"processor": processor, "ratio": ratio, "words": words, "num_beams": num_beams, "batch_size": batch_size}
        options |= {"decoding": decoding, "word_bonus": word_bonus, "extractive": extractive}
        return [found[0].text for found in self.summarize_n_best(texts, 1, **options)]

    def summarize_n_best(
        self,
        texts: Texts,
        num_summaries: int = 5,
        *,
        processor: LatentTextProcessor,
        ratio: float | None = None,
        words: int | None = None,
        decoding: str = "mode",
        word_bonus: float = 0.0,
        extractive: bool = False,
        num_beams: int = 8,
        batch_size: int = 64,
    ) -> list[list[ScoredSummary]]:
        """The best compressions of each text by log q, best first; fewer where it has no more. See `summarize`."""
        _check_lengths(ratio, words)
        self._check_decoding(decoding, num_summaries)
        self._check_bonus(word_bonus)
        if num_summaries < 1:
            raise ValueError(f"num_summaries must be at least 1, but is {num_summaries}.")
        found = []
        for sentences, batch in self._batches(texts, processor, batch_size):
            with in_evaluation_mode(self):
                source = self.source_of(batch["labels"], batch["decoder_word_ids"])
                wanted = (ratio, words, decoding, word_bonus, extractive, num_beams)
                values, log_prob = self._best(source, batch, num_summaries, *wanted)
                pairs = self.pair_log_probs(source)
                reconstruction = self.log_likelihood(source, values, None, pairs)
                log_prior, empty = self.log_prior(source, values, pairs), self.log_empty(source, None, pairs)
            counts = self.posterior_head.counts_of(values, source)
            for row, own in enumerate(sentences):
                found.append(
                    [
                        ScoredSummary(
                            " ".join(self._surface(values[rank, row], source, row, own, processor)),
                            log_prob[rank, row].item(),
                            log_prior[rank, row].item(),
                            reconstruction[rank, row].item(),
                            (reconstruction[rank, row] - empty[row]).item(),
                            int(counts[rank, row]),
                        )
                        for rank in range(len(values))
                        if log_prob[rank, row] > -torch.inf
                    ]
                )
        return found

    def explain(
        self,
        texts: Texts,
        *,
        processor: LatentTextProcessor,
        ratio: float | None = None,
        words: int | None = None,
        decoding: str = "mode",
        word_bonus: float = 0.0,
        extractive: bool = False,
        num_beams: int = 8,
        batch_size: int = 64,
    ) -> list[list[WordCredit]]:
        """For each word of each summary, by how many nats the text is less probable without it; see `summarize`."""
        _check_lengths(ratio, words)
        self._check_decoding(decoding, 1)
        self._check_bonus(word_bonus)
        found = []
        for sentences, batch in self._batches(texts, processor, batch_size):
            with in_evaluation_mode(self):
                source = self.source_of(batch["labels"], batch["decoder_word_ids"])
                values = self._best(source, batch, 1, ratio, words, decoding, word_bonus, extractive, num_beams)[0]
                pairs = self.pair_log_probs(source)
                counts = self.posterior_head.counts_of(values[0], source)
                whole = self.log_likelihood(source, values, None, pairs)[0]
                # One at least: a batch of empty summaries has nothing to leave out, and `stack` needs something.
                without = [self._without(values[0], place, source) for place in range(max(1, int(counts.max())))]
                scores = self.log_likelihood(source, torch.stack(without), None, pairs)
            for row, own in enumerate(sentences):
                surface = self._surface(values[0, row], source, row, own, processor)
                credits = (whole[row] - scores[: int(counts[row]), row]).tolist()
                found.append([WordCredit(word, nats) for word, nats in zip(surface, credits, strict=True)])
        return found

    def _batches(
        self, texts: Texts, processor: LatentTextProcessor, batch_size: int
    ) -> Iterator[tuple[list[list[str]], dict[str, torch.Tensor]]]:
        """Texts as lists of words, and what the model takes of them, some at a time."""
        self.connect_prior(processor)
        sentences = split_texts(texts)
        columns = processor.tokenize_words(sentences, "text")
        check_positions(self.encoder, map(len, columns["input_ids"]), "text")
        collate = CompressionCollator(processor)
        for begin in range(0, len(sentences), batch_size):
            rows = range(begin, min(begin + batch_size, len(sentences)))
            batch = collate([{name: values[row] for name, values in columns.items()} for row in rows])
            yield sentences[begin : begin + batch_size], {name: value.to(self.device) for name, value in batch.items()}

    def _best(
        self,
        source: SourceWords,
        batch: dict[str, torch.Tensor],
        count: int,
        ratio: float | None,
        words: int | None,
        decoding: str,
        word_bonus: float,
        extractive: bool,
        num_beams: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best values (N, B, ...) and their log q (N, B), -inf where there is none."""
        counts = self.counts_for(source, ratio)
        if words is not None:
            short = int((source.lengths < words).sum())
            if short:
                logger.warning("%d text(s) have fewer than %d words and keep all they have.", short, words)
            counts = source.lengths.clamp(max=words)
        encoded = self.encoded(source, batch["input_ids"], batch["attention_mask"], batch["word_ids"])
        posterior = self.posterior_head(encoded, source, counts, extractive)
        if isinstance(posterior, CanonicalDeletion):
            if self.config.objective == "marginal":
                posterior = self.exact_posterior(posterior, self.pair_log_probs(source))
            tilted = posterior
            if word_bonus:
                # Each pair of words that follow each other brings the second one; the last column is the end.
                bonus = torch.full_like(posterior.pair_scores, word_bonus)
                bonus[..., -1] = 0.0
                tilted = posterior.reweighted(bonus)
            if decoding == "expected_f1":
                masks = expected_f1_masks(tilted.marginals, source.lengths, counts, int(not self.config.allow_empty))
                values = posterior.canonical(masks).unsqueeze(0)
            else:
                values = tilted.k_best(count).masks
            return values, posterior.log_prob(values)
        found = posterior.beam(count, max(count, num_beams))
        return found.sequences, found.log_prob

    def _check_decoding(self, decoding: str, num_summaries: int) -> None:
        if decoding not in DECODINGS:
            raise ValueError(f"Unknown decoding {decoding!r}: choose one of {', '.join(map(repr, DECODINGS))}.")
        if decoding == "expected_f1" and (self.config.posterior_type != "delete" or num_summaries > 1):
            raise ValueError(
                "The decoding 'expected_f1' finds one compression, of the posterior_type 'delete', which here is "
                f"{self.config.posterior_type!r}: choose 'mode', or ask for one."
            )

    def _check_bonus(self, word_bonus: float) -> None:
        if word_bonus and self.config.posterior_type != "delete":
            raise ValueError(
                f"word_bonus is {word_bonus}, and the posterior_type {self.config.posterior_type!r} takes none: it is of "
                "'delete'. Others have their lengths by ratio, words, min_summary_words and max_summary_words."
            )

    def _without(self, values: torch.Tensor, place: int, source: SourceWords) -> torch.Tensor:
        """Values (B, ...) without their symbol number `place`; as they are where they have no so many."""
        if values.dtype == torch.bool:
            shorter = values & (values.cumsum(-1) != place + 1)
            every = CanonicalDeletion(
                torch.zeros(len(values), source.num_words + 1, source.num_words + 1, device=values.device),
                source.words,
                source.lengths,
                allow_empty=True,
            )
            return every.canonical(shorter)
        ends = torch.full_like(values[:, :1], self.posterior_head.end_symbol(source))
        shorter = torch.cat([values[:, :place], values[:, place + 1 :], ends], dim=1)
        has = self.posterior_head.counts_of(values, source) > place
        return torch.where(has.unsqueeze(1), shorter, values)

    def _surface(
        self, value: torch.Tensor, source: SourceWords, row: int, words: list[str], processor: LatentTextProcessor
    ) -> list[str]:
        """The words of a value as they stand in the text, where they do."""
        if value.dtype == torch.bool:
            return [word for word, kept in zip(words, value.tolist(), strict=False) if kept]
        own = source.select(torch.tensor([row], device=value.device))
        tokens = [token for token in self.posterior_head.labels_of(value[None, None], own)[0, 0].tolist() if token >= 0][:-1]
        if not source.are_tokens:
            return processor.decoder_tokenizer.decode(tokens).split()
        # The unknown word, too, is that of the text.
        found = dict(zip(reversed(own.words[0, : len(words)].tolist()), reversed(words), strict=True))
        return [found.get(token) or processor.decoder_tokenizer.decode([token]).strip() for token in tokens]


def _check_lengths(ratio: float | None, words: int | None) -> None:
    if ratio is not None and words is not None:
        raise ValueError("ratio and words both say how long a summary shall be: give one of the two.")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}: words of the summary to words of the text, above 0 and at most 1.")
    if words is not None and words < 1:
        raise ValueError(f"words is {words}: a summary has at least 1.")
