"""q(c|x): from the states of a sentence's words to a distribution over its compressions, and what a value of it is."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution

from hf_lvm.backbones.decoders import build_decoder
from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.generation.cached_decoder import CachedDecoder, check_attends, embedding_table
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.layers.decoder_interface import attended_size, first_position
from hf_lvm.layers.pair_scores import PairScorer
from hf_lvm.layers.pointer import PointerNetwork
from hf_lvm.layers.span_scores import init_linear
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

    def forward(
        self, encoded: EncodedWords, source: SourceWords, counts: torch.Tensor | None = None, extractive: bool = False
    ) -> CanonicalDeletion:
        """q(c|x), or with counts (B,) q(c | x, so many words); always extractive."""
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


class SequenceHead(nn.Module):
    """What is written symbol by symbol: `SymbolSequences`, values sequences (B, T) with their end.

    A subclass says what a symbol is.
    """

    def labels_of(self, values: torch.Tensor, source: SourceWords) -> torch.Tensor:
        """Values (R, B, T) as tokens with their end, -100 behind it: (R, B, L)."""
        lengths = self.counts_of(values, source).unsqueeze(-1)
        width = int(lengths.max()) + 1 if may_look(values, False) else values.shape[-1]
        places = torch.arange(width, device=values.device)
        tokens = self.tokens_of(values[..., :width], source)
        return torch.where(places < lengths, tokens, torch.where(places == lengths, source.end, IGNORED))

    def counts_of(self, values: torch.Tensor, source: SourceWords) -> torch.Tensor:
        """Symbols of values (..., B, T) before their end: (..., B)."""
        return (values == self.end_symbol(source)).cumsum(-1).eq(0).sum(-1)

    def told(
        self, source: SourceWords, kept: torch.Tensor | None, summary_ids: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Known values (B, L) and which rows have one (B,); None where a batch has none.

        Raises:
            ValueError: a summary without its end, or one that q cannot write; the rows are named.
        """
        if summary_ids is None:
            if kept is None:
                return None
            summary_ids = source.labels_of_masks(kept).masked_fill(~kept.any(1, keepdim=True), IGNORED)
        known = (summary_ids != IGNORED).any(1)
        endless = known & ~(summary_ids == source.end).any(1)
        if may_look(summary_ids, False) and endless.any():
            raise ValueError(f"The summaries of row(s) {rows_of(endless)} do not end with the token {source.end}.")
        return self.values_of(summary_ids, source, known), known

    def canonical(self, posterior: Distribution, values: torch.Tensor) -> torch.Tensor:
        """The values that stand for the same compressions in `posterior`: themselves."""
        return values

    def end_symbol(self, source: SourceWords) -> int:
        """The symbol that ends a value."""
        return source.end

    def token_ids(self, source: SourceWords) -> torch.Tensor | None:
        """The token that each symbol of a row is, (B, V); None where symbols are tokens."""
        return None

    def tokens_of(self, values: torch.Tensor, source: SourceWords) -> torch.Tensor:
        """Symbols (R, B, T) as tokens."""
        ids = self.token_ids(source)
        return values if ids is None else ids.expand(*values.shape[:-1], -1).gather(-1, values)

    def values_of(self, summary_ids: torch.Tensor, source: SourceWords, known: torch.Tensor) -> torch.Tensor:
        """Tokens (B, L) with their end, -100 behind it, as values (B, L)."""
        return summary_ids.masked_fill(summary_ids == IGNORED, source.end)

    @staticmethod
    def refuse(wrong: torch.Tensor, reason: str) -> None:
        """Raise a `ValueError` where summaries (B,) cannot be written."""
        if may_look(wrong, False) and wrong.any():
            raise ValueError(f"The summaries of row(s) {rows_of(wrong)} {reason}.")


class PointerHead(SequenceHead):
    """Words of the source in any order, or with `pointer_vocab` of the vocabulary, too."""

    def __init__(self, config: LatentSummarizerConfig):
        super().__init__()
        decoder = config.decoder.get_text_config(decoder=True)
        size = config.encoder.hidden_size
        self.mixes_vocabulary = config.posterior_type == "pointer_vocab"
        self.fewest, self.most = config.min_summary_words, config.max_summary_words
        self.dropout = nn.Dropout(config.posterior_dropout)
        self.network = PointerNetwork(
            size, config.pointer_hidden_size or size, decoder.vocab_size, config.excluded_ids, self.mixes_vocabulary
        )

    def forward(
        self, encoded: EncodedWords, source: SourceWords, counts: torch.Tensor | None = None, extractive: bool = False
    ) -> SymbolSequences:
        """q(c|x), or with counts (B,) q(c | x, so many symbols).

        Args:
            extractive: whether `pointer_vocab` writes by its pointers alone, which `pointer` always does.
        """
        source.check_tokens("a pointer")
        most = source.lengths if self.most is None else source.lengths.clamp(max=self.most)
        fewest = most.clamp(max=self.fewest)
        if counts is not None:
            fewest = most = counts
        # One mask for the pass that samples and the one that scores.
        states = self.dropout(encoded.states)
        decoder = self.network.over(
            states, encoded.features, source.words, source.lengths, source.end, fewest, most, extractive
        )
        longest = source.num_words if counts is None or not may_look(counts, False) else int(counts.max())
        return SymbolSequences(decoder, decoder.end_symbol, max(longest, 1))

    def end_symbol(self, source: SourceWords) -> int:
        return source.end if self.mixes_vocabulary else source.num_words

    def token_ids(self, source: SourceWords) -> torch.Tensor | None:
        return None if self.mixes_vocabulary else torch.nn.functional.pad(source.words, (0, 1), value=source.end)

    def values_of(self, summary_ids: torch.Tensor, source: SourceWords, known: torch.Tensor) -> torch.Tensor:
        values = super().values_of(summary_ids, source, known)
        counts = (values == source.end).cumsum(-1).eq(0).sum(-1)
        most = source.lengths if self.most is None else source.lengths.clamp(max=self.most)
        limits = "max_summary_words or their sentences have" if self.most else "their sentences have"
        self.refuse(known & (counts > most), f"are longer than {limits}: shorten them, or leave these pairs out")
        self.refuse(known & (counts < self.fewest), f"have fewer words than min_summary_words, {self.fewest}")
        if self.mixes_vocabulary:
            return values
        same = (values.unsqueeze(2) == source.words.unsqueeze(1)) & source.inside.unsqueeze(1)
        places = torch.where(same.any(2), same.to(torch.uint8).argmax(2), source.num_words)
        inside = torch.arange(values.shape[1], device=values.device) < counts.unsqueeze(1)
        self.refuse(
            known & (inside & ~same.any(2)).any(1),
            "have words that their sentences do not have, which a pointer cannot write: leave these pairs out, or choose the "
            "posterior_type 'pointer_vocab'",
        )
        return places

    def init_weights(self) -> None:
        """Where no weights were loaded."""
        self.network.init_weights()


class VocabularyHead(SequenceHead):
    """What a causal language model writes that attends to the states of the source's words, or reads them as its prompt."""

    def __init__(self, config: LatentSummarizerConfig):
        super().__init__()
        self.decoder = build_decoder(config.compressor)
        self.attends = config.compressor_injection == "cross_attention"
        if self.attends:
            check_attends(self.decoder)
        table = self.decoder.get_input_embeddings()
        self.bridge = nn.Linear(
            config.encoder.hidden_size, attended_size(config.compressor) if self.attends else table.embedding_dim
        )
        self.start, self.fewest, self.most = config.bos_token_id, config.min_summary_words, config.max_summary_words
        self.forbidden = config.excluded_ids

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """Tensors of the language model that are one: transformers asks the parts of a model for them, and saves one."""
        return {f"decoder.{name}": f"decoder.{other}" for name, other in self.decoder.all_tied_weights_keys.items()}

    def forward(
        self, encoded: EncodedWords, source: SourceWords, counts: torch.Tensor | None = None, extractive: bool = False
    ) -> SymbolSequences:
        """q(c|x).

        Raises:
            ValueError: counts, or to be extractive, which this posterior cannot be given.
        """
        if extractive:
            raise ValueError("The posterior_type 'vocab' has no pointers to write by: leave extractive out.")
        if counts is not None:
            raise ValueError(
                "The posterior_type 'vocab' cannot be given a number of words: set min_summary_words and max_summary_words."
            )
        start, states, inside = (
            torch.full_like(source.labels[:, :1], self.start),
            self.bridge(encoded.states),
            source.inside.long(),
        )
        if self.attends:
            decoder = CachedDecoder(self.decoder, start, encoder_hidden_states=states, encoder_attention_mask=inside)
        else:
            decoder = CachedDecoder(
                self.decoder,
                prompt_embeds=torch.cat([states, embedding_table(self.decoder)[start].to(states.dtype)], 1),
                prompt_mask=torch.cat([inside, torch.ones_like(start)], 1),
                first_position=first_position(self.decoder),
            )
        return SymbolSequences(decoder, source.end, self.most, min_length=self.fewest, forbidden=self.forbidden)

    def values_of(self, summary_ids: torch.Tensor, source: SourceWords, known: torch.Tensor) -> torch.Tensor:
        values = super().values_of(summary_ids, source, known)
        counts = (values == source.end).cumsum(-1).eq(0).sum(-1)
        self.refuse(known & (counts > self.most), f"have more tokens than max_summary_words, {self.most}")
        self.refuse(known & (counts < self.fewest), f"have fewer tokens than min_summary_words, {self.fewest}")
        return values[:, : self.most + 1]

    def init_weights(self) -> None:
        """Where no weights were loaded: the language model begins by itself."""
        init_linear(self.bridge)


POSTERIOR_HEADS: dict[str, type[nn.Module]] = {
    "delete": DeletionHead,
    "pointer": PointerHead,
    "pointer_vocab": PointerHead,
    "vocab": VocabularyHead,
}


def entropy_of(posterior: Distribution) -> torch.Tensor | None:
    """(B,), nats, where there is a closed form; None otherwise."""
    return posterior.entropy() if isinstance(posterior, CanonicalDeletion) else None
