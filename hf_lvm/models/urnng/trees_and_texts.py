"""Text in, trees out, and the other way round.

A model owns no tokenizer, so every method takes the processor. Each has a tensor twin: `encode`, `decoder`, the functions of
`hf_lvm.generation`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from nltk import Tree
from transformers import PreTrainedTokenizerBase

from hf_lvm.backbones.encoders import check_positions
from hf_lvm.data import LatentTextProcessor, TreeCollator, mask_to_tree
from hf_lvm.data.processor import split_texts
from hf_lvm.generation.tree_sampling import MOST_PIECES_A_WORD, sample_trees
from hf_lvm.generation.word_synchronous import FoundTrees, word_synchronous_search
from hf_lvm.layers.decoder_interface import in_evaluation_mode

Texts = str | Sequence[str | Sequence[str]]
SCORED_BY = ("posterior", "joint")


@dataclass(frozen=True)
class ScoredTree:
    """A tree of a sentence.

    Attributes:
        tree: binary, its leaves the words.
        log_prob: log q(z|x), or log p(x, z) where that is what the trees were ranked by; nats.
    """

    tree: Tree
    log_prob: float


@dataclass(frozen=True)
class WrittenSentence:
    """A sentence that the model has written with its tree.

    Attributes:
        text: its words, separated by blanks; a blank inside of a word is written `_`.
        tree: None where the sentence was cut before its end.
    """

    text: str
    tree: Tree | None


class TreesAndTexts:
    """Methods of a URNNG that read and write strings."""

    def parse(self, texts: Texts, *, processor: LatentTextProcessor, batch_size: int = 64) -> list[Tree]:
        """The most probable tree of each sentence under q(z|x).

        Args:
            texts: one sentence, or several: strings, whose words are separated by blanks, or lists of words.

        Raises:
            ValueError: a sentence without words, or one that the tokenizers cannot cut by words; the row is named.
        """
        return [best[0].tree for best in self.parse_n_best(texts, 1, processor=processor, batch_size=batch_size)]

    def parse_n_best(
        self,
        texts: Texts,
        num_trees: int = 5,
        *,
        processor: LatentTextProcessor,
        scored_by: str = "posterior",
        beam_size: int = 100,
        batch_size: int = 64,
    ) -> list[list[ScoredTree]]:
        """The best trees of each sentence, best first; fewer where it has no more.

        Args:
            scored_by: `posterior`, log q(z|x), whose best trees are found exactly; or `joint`, log p(x, z), by a search word
                by word with a beam (Stern et al. 2017).
            beam_size: of that search.

        Raises:
            ValueError: see `parse`; another `scored_by`, or no tree to be found.
        """
        if scored_by not in SCORED_BY:
            raise ValueError(f"Unknown scored_by {scored_by!r}: choose one of {', '.join(map(repr, SCORED_BY))}.")
        if num_trees < 1:
            raise ValueError(f"num_trees must be at least 1, but is {num_trees}.")
        found = []
        for words, batch in self._batches(texts, processor, batch_size):
            with in_evaluation_mode(self):
                if scored_by == "posterior":
                    posterior = self.encode(batch["input_ids"], batch["attention_mask"], batch["word_ids"])
                    spans, scores = posterior.k_best(num_trees)
                    log_probs = scores - posterior.log_partition
                else:
                    search = self._search(batch, max(beam_size, num_trees), num_trees)
                    spans, log_probs = search.spans, search.log_prob.T
            for row, own in enumerate(words):
                found.append(
                    [
                        ScoredTree(mask_to_tree(mask[: len(own), : len(own)], own), log_prob)
                        for mask, log_prob in zip(spans[:, row].cpu(), log_probs[:, row].tolist(), strict=True)
                        if log_prob > float("-inf")
                    ]
                )
        return found

    def surprisal(
        self, texts: Texts, *, processor: LatentTextProcessor, beam_size: int = 100, batch_size: int = 64
    ) -> list[list[tuple[str, float]]]:
        """-log p(word | all words before it) of each word and of the end, in nats, with the trees summed over by a beam.

        The beam holds a part of the probability, so these are approximations (see `word_synchronous_search`).
        """
        found = []
        end = processor.decoder_tokenizer.convert_ids_to_tokens(processor.end_token_id)
        for words, batch in self._batches(texts, processor, batch_size):
            with in_evaluation_mode(self):
                search = self._search(batch, beam_size)
            for row, own in enumerate(words):
                nats = [*search.surprisal[row, : len(own)].tolist(), search.end_surprisal[row].item()]
                found.append(list(zip([*own, end], nats, strict=True)))
        return found

    def _batches(
        self, texts: Texts, processor: LatentTextProcessor, batch_size: int
    ) -> Iterator[tuple[list[list[str]], dict[str, torch.Tensor]]]:
        """Sentences as lists of words, and what the model takes of them, some at a time."""
        sentences = split_texts(texts)
        columns = processor.tokenize_words(sentences)
        check_positions(self.encoder, map(len, columns["input_ids"]), "sentence")
        collate = TreeCollator(processor)
        for begin in range(0, len(sentences), batch_size):
            rows = range(begin, min(begin + batch_size, len(sentences)))
            batch = collate([{name: values[row] for name, values in columns.items()} for row in rows])
            yield sentences[begin : begin + batch_size], {name: values.to(self.device) for name, values in batch.items()}

    def _search(self, batch: dict[str, torch.Tensor], beam_size: int, num_trees: int = 1) -> FoundTrees:
        sentences = self.sentences_of(batch["labels"], batch["decoder_word_ids"])
        return word_synchronous_search(
            self.decoder,
            sentences.pieces,
            sentences.word_ids,
            sentences.lengths,
            num_trees=num_trees,
            beam_size=beam_size,
        )

    def sample(
        self,
        num_texts: int = 8,
        *,
        processor: LatentTextProcessor,
        max_words: int = 100,
        generator: torch.Generator | None = None,
    ) -> list[WrittenSentence]:
        """New sentences with their trees, drawn exactly from p(x, z); longer ones, and those that the decoder may have no room
        for, are cut and have no tree."""
        with in_evaluation_mode(self):
            most = getattr(self.decoder, "most_pieces", None)
            limit = max_words * MOST_PIECES_A_WORD if most is None else min(most, max_words * MOST_PIECES_A_WORD)
            written = sample_trees(self.decoder, num_texts, max_words, generator, max_pieces=limit)
        tokenizer = processor.decoder_tokenizer
        sentences = []
        for row in range(num_texts):
            count = int(written.lengths[row])
            words = [_as_word(written.pieces[row][written.word_ids[row] == word].tolist(), tokenizer) for word in range(count)]
            finished = bool(written.finished[row])
            tree = mask_to_tree(written.spans[row, :count, :count].cpu(), words) if finished else None
            sentences.append(WrittenSentence(" ".join(words), tree))
        return sentences


def _as_word(pieces: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """A word that was written, as a string without blanks: what a model of pieces writes need not be one."""
    return "_".join(tokenizer.decode(pieces).split()) or "".join(tokenizer.convert_ids_to_tokens(pieces))
