"""Sentences as words, whatever pieces their two tokenizers cut them into."""

from dataclasses import dataclass

import torch

from hf_lvm.distributions.lengths import may_look, rows_of


@dataclass(frozen=True)
class Sentences:
    """B sentences of n words at most.

    Attributes:
        lengths: (B,), words of each.
        num_words: n.
        pieces: (B, S), what the decoder writes, without the end, padded on the right; None of a sentence that is only read.
        word_ids: (B, S), the word that each piece belongs to, -1 where there is none; None where each piece is a word.
    """

    lengths: torch.Tensor
    num_words: int
    pieces: torch.Tensor | None = None
    word_ids: torch.Tensor | None = None

    @classmethod
    def of_lengths(cls, lengths: torch.Tensor) -> "Sentences":
        """Of so many words.

        Raises:
            ValueError: a sentence without a word.
        """
        _check_not_empty(lengths)
        return cls(lengths, int(lengths.max()))

    @classmethod
    def of_labels(
        cls, labels: torch.Tensor, word_ids: torch.Tensor | None, end: int | None, subwords: bool = False
    ) -> "Sentences":
        """As labels (B, T) have them, with the end last and -100 behind it.

        Args:
            word_ids: (B, T), the word that each piece belongs to; None where each is a word.
            end: the token that ends a sentence.
            subwords: whether the decoder writes words of several pieces.

        Raises:
            ValueError: a sentence without a word or without its end; word numbers of another shape, or of words of several
                pieces for a decoder that writes none.
        """
        is_token = labels != -100
        if word_ids is not None and word_ids.shape != labels.shape:
            raise ValueError(
                f"decoder_word_ids has shape {tuple(word_ids.shape)} and labels {tuple(labels.shape)}: there is one number a "
                "piece."
            )
        # No row has a word at the last place: its end stands there or before.
        pieces = labels[:, :-1].clamp(min=0)
        if word_ids is None:
            lengths = is_token.sum(1) - 1
        else:
            lengths, word_ids = word_ids.amax(1) + 1, word_ids[:, :-1]
        _check_not_empty(lengths)
        if not subwords:
            word_ids = _each_a_word(word_ids, is_token.sum(1) - 1 - lengths)
        if may_look(labels, False):
            last = labels.gather(1, is_token.sum(1, keepdim=True) - 1).squeeze(1)
            if end is not None and (last != end).any():
                raise ValueError(
                    f"The labels of row(s) {rows_of(last != end)} do not end with the end of the sentence, token {end}: it is "
                    "a part of what is predicted."
                )
        num_words = pieces.shape[1] if word_ids is None else int(lengths.max())
        return cls(lengths, num_words, pieces, word_ids)

    def check_encoder(self, lengths: torch.Tensor) -> None:
        """Raise a `ValueError` unless the encoder reads as many words (B,) as the decoder writes."""
        if may_look(lengths, False) and (lengths != self.lengths).any():
            wrong = lengths != self.lengths
            raise ValueError(
                f"The sentence(s) of row(s) {rows_of(wrong)} have {lengths[wrong].tolist()} words for the encoder and "
                f"{self.lengths[wrong].tolist()} for the decoder: a tree is over the words of both. Pass word_ids and "
                "decoder_word_ids where a word may be several pieces."
            )

    def check_brackets(self, spans: torch.Tensor) -> None:
        """Raise a `ValueError` unless `spans` is a mask of spans, and those of two words or more are of these sentences."""
        shape = (len(self.lengths), self.num_words, self.num_words)
        if spans.shape != shape or spans.dtype != torch.bool:
            raise ValueError(
                f"required_spans has shape {tuple(spans.shape)} and type {spans.dtype}: bool of shape {shape} is needed, True "
                "at [row, first word, last word]."
            )
        outside = (spans.triu(1) & (torch.arange(self.num_words, device=spans.device) >= self.lengths.view(-1, 1, 1))).any(2)
        if may_look(spans, False) and outside.any():
            raise ValueError(
                f"required_spans of row(s) {rows_of(outside.any(1))} do not fit their sentences: a bracket ends past the last "
                "word."
            )

    def any_trees(self) -> torch.Tensor:
        """A tree of each sentence: the right-branching one, (B, n, n) bool."""
        place, last = torch.arange(self.num_words, device=self.lengths.device), self.lengths.view(-1, 1, 1) - 1
        first, end = place.view(1, -1, 1), place.view(1, 1, -1)
        return ((end == last) & (first <= last)) | ((first == end) & (end <= last))

    def are_trees(self, spans: torch.Tensor) -> bool:
        """Whether brackets (B, n, n) that do not cross make all trees known."""
        inside = torch.arange(self.num_words, device=spans.device) < self.lengths.unsqueeze(1)
        return bool(((spans.triu(1) & inside.unsqueeze(1)).sum((1, 2)) >= self.lengths - 1).all())


def _each_a_word(word_ids: torch.Tensor | None, more_pieces: torch.Tensor) -> None:
    """No word numbers, once it is clear that they say nothing: that no sentence has more pieces than words."""
    if word_ids is not None and may_look(more_pieces, False) and more_pieces.any():
        raise ValueError(
            f"Row(s) {rows_of(more_pieces != 0)} have words of several pieces, and this decoder writes whole words: build it "
            "with subwords=True, or use a tokenizer of whole words."
        )


def _check_not_empty(lengths: torch.Tensor) -> None:
    if may_look(lengths, False) and (lengths < 1).any():
        raise ValueError(f"The sentence(s) of row(s) {rows_of(lengths < 1)} have no word: a tree is over one word or more.")
