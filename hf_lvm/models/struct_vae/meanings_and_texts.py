"""Text in, meaning out, and the other way round.

A model owns no tokenizer, so every method takes the processor. `encode`, `teller` and `meaning_prior` are the tensor twins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from hf_lvm.backbones.decoders import decoder_positions
from hf_lvm.backbones.encoders import check_positions
from hf_lvm.data import LatentTextProcessor, TreeCollator
from hf_lvm.data.processor import split_texts
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language, language_from_dict
from hf_lvm.layers.decoder_interface import in_evaluation_mode

Texts = str | Sequence[str | Sequence[str]]
Meanings = str | Node | Sequence[str | Node]
SCORED_BY = ("posterior", "joint")


@dataclass(frozen=True)
class ScoredMeaning:
    """A meaning of a sentence.

    Attributes:
        tree: of the grammar.
        text: the same as the language writes it; None where the model has no language, or the tree no text.
        log_prob: log q(z|x), or log p(x, z) where that is what the meanings were ranked by; nats.
    """

    tree: Node
    text: str | None
    log_prob: float


class MeaningsAndTexts:
    """Methods of a StructVAE that read and write strings."""

    @cached_property
    def language(self) -> Language | None:
        """How meanings are written as texts; None where the config has no `language`."""
        return None if self.config.language is None else language_from_dict(self.config.language)

    def parse(
        self, texts: Texts, *, processor: LatentTextProcessor, num_beams: int = 5, batch_size: int = 64
    ) -> list[ScoredMeaning]:
        """The most probable meaning of each sentence under q(z|x) that beam search finds.

        Args:
            texts: one sentence, or several: strings, whose words are separated by blanks, or lists of words.
            num_beams: beginnings of trees that are kept at every step.
            batch_size: sentences parsed at once, of like length.

        Raises:
            ValueError: a sentence without words, beyond the encoder's positions, or one that the tokenizers cannot cut by
                words; it is named.
        """
        options = {"processor": processor, "num_beams": num_beams, "batch_size": batch_size}
        return [best[0] for best in self.parse_n_best(texts, 1, **options)]

    def parse_n_best(
        self,
        texts: Texts,
        num_meanings: int = 5,
        *,
        processor: LatentTextProcessor,
        scored_by: str = "posterior",
        num_beams: int = 5,
        batch_size: int = 64,
    ) -> list[list[ScoredMeaning]]:
        """The best meanings of each sentence, best first; fewer where the grammar has no more within max_actions.

        Args:
            scored_by: `posterior`, log q(z|x); or `joint`: what the beam finds is ranked by log p(x|z) + log p(z).
            num_beams: as of `parse`, or num_meanings where that is more.

        Raises:
            ValueError: see `parse`; another `scored_by`, no meaning to be found, or `joint` without a p(z).
        """
        if scored_by not in SCORED_BY:
            raise ValueError(f"Unknown scored_by {scored_by!r}: choose one of {', '.join(map(repr, SCORED_BY))}.")
        if num_meanings < 1 or num_beams < 1:
            raise ValueError(f"num_meanings is {num_meanings} and num_beams {num_beams}: both are at least 1.")
        if scored_by == "joint" and self.prior is None:
            raise ValueError("The prior_type 'uniform' is no p(z), so there is no joint probability: leave scored_by out.")
        num_beams = max(num_beams, num_meanings)
        texts = [texts] if isinstance(texts, str) else texts
        found: list[list[ScoredMeaning]] = [[] for _ in texts]
        for rows, words, batch in self._batches(texts, processor, batch_size, with_labels=scored_by == "joint"):
            with in_evaluation_mode(self):
                encoded = self.encoded(batch["input_ids"], batch["attention_mask"], batch["word_ids"], words)
                beam = self.posterior_of(encoded).beam(num_beams)
                exists, scores = beam.log_prob > -torch.inf, beam.log_prob
                if scored_by == "joint":
                    # What is not there is scored as the best one, and left out.
                    values = torch.where(exists.unsqueeze(-1), beam.sequences, beam.sequences[:1])
                    spelled = self.grammar.spelled_ids(values, encoded.sources)
                    scores = self.log_likelihood(batch["labels"], spelled) + self.log_prior(spelled)
            ranks = scores.masked_fill(~exists, -torch.inf).argsort(dim=0, descending=True, stable=True)[:num_meanings]
            sequences, scores, exists = (each.tolist() for each in (beam.sequences, scores, exists))
            for place, row in enumerate(rows):
                source = None if encoded.sources is None else encoded.sources[place]
                for rank in ranks[:, place].tolist():
                    if exists[rank][place]:
                        tree = self.grammar.tree(sequences[rank][place], source)
                        found[row].append(ScoredMeaning(tree, self._written(tree), scores[rank][place]))
        return found

    def verbalize(
        self,
        meanings: Meanings,
        *,
        processor: LatentTextProcessor,
        num_beams: int = 4,
        max_new_tokens: int = 64,
        batch_size: int = 64,
    ) -> list[str]:
        """The most probable sentence of each meaning under p(x|z) that beam search finds, of up to `max_new_tokens` tokens.

        Args:
            meanings: one, or several: trees, or texts of the model's language.

        Raises:
            ValueError: texts for a model without a language, or a meaning that the grammar does not derive or that has too
                many steps; it is named.
        """
        meanings = [meanings] if isinstance(meanings, str | Node) else meanings
        room = decoder_positions(self.decoder)
        most = max_new_tokens if room is None else min(max_new_tokens, room)
        trees = [self._tree(each, f"meaning {row}") for row, each in enumerate(meanings)]
        if not trees:
            return []
        ids = self.grammar.ids_of_trees(trees).to(self.device)
        lengths = (ids >= 0).sum(1)
        order = lengths.argsort(stable=True)
        sentences = [""] * len(trees)
        for rows in order.split(batch_size):
            with in_evaluation_mode(self):
                decoder = self.teller(ids[rows, : int(lengths[rows].max())])
                written = SymbolSequences(decoder, self.config.eos_token_id, most).beam(1, num_beams).sequences[0]
            for row, text in zip(rows.tolist(), processor.batch_decode(written), strict=True):
                sentences[row] = text
        return sentences

    def _tree(self, meaning: str | Node, name: str) -> Node:
        if not isinstance(meaning, str):
            return meaning
        if self.language is None:
            raise ValueError(
                f"The {name} is a text, and the config has no language that says how to read it: pass a tree, or set language."
            )
        return self.language.parse(meaning, name)

    def _written(self, tree: Node) -> str | None:
        """The text of a tree. Not every tree of a grammar has one: that of a Python string without its quotes, say."""
        if self.language is None:
            return None
        try:
            return self.language.write(tree)
        except ValueError:
            return None

    def _batches(
        self, texts: Texts, processor: LatentTextProcessor, batch_size: int, with_labels: bool
    ) -> Iterator[tuple[list[int], list[list[str]], dict[str, torch.Tensor]]]:
        """Sentences of like length, some at a time: their rows, their words, and what the model takes of them."""
        sentences = split_texts(texts)
        if not sentences:
            return
        columns = processor.tokenize_words(sentences)
        check_positions(self.encoder, map(len, columns["input_ids"]), "sentence")
        room = decoder_positions(self.decoder)
        if with_labels and room is not None:
            for row, labels in enumerate(columns["labels"]):
                if len(labels) > room:
                    raise ValueError(
                        f"sentence {row} has {len(labels)} tokens, and the decoder has room for {room}: leave it out, or "
                        "choose scored_by='posterior'."
                    )
        collate = TreeCollator(processor)
        order = sorted(range(len(sentences)), key=lambda row: len(columns["input_ids"][row]))
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = collate([{name: values[row] for name, values in columns.items()} for row in rows])
            batch = {name: value.to(self.device) for name, value in batch.items()}
            yield rows, [sentences[row] for row in rows], batch
