"""The sentences that are to be compressed, as words, and compressions of them as tokens."""

from dataclasses import dataclass

import torch

from hf_lvm.distributions.lengths import may_look, rows_of

IGNORED = -100


@dataclass(frozen=True)
class SourceWords:
    """B sentences of n words at most, whatever pieces the decoder's tokenizer cuts them into.

    Attributes:
        labels: (B, T), the pieces and the end, -100 behind it: what p(x|c) is about.
        word_ids: (B, T), the word that each piece belongs to, -1 at the end and behind it.
        lengths: (B,), words of each.
        words: (B, n), the same number for the same word of a row: the token where each word is one token, and otherwise the
            place of the first word with the same pieces; any number past the length.
        are_tokens: whether each word is one token, and `words` are ids.
        end: the token that ends a sentence.
    """

    labels: torch.Tensor
    word_ids: torch.Tensor
    lengths: torch.Tensor
    words: torch.Tensor
    are_tokens: bool
    end: int

    @classmethod
    def of_labels(cls, labels: torch.Tensor, word_ids: torch.Tensor | None, end: int) -> "SourceWords":
        """As a batch has them.

        Args:
            labels: (B, T) pieces with the end last, -100 behind it.
            word_ids: (B, T), the word that each piece belongs to; None where each piece is a word.

        Raises:
            ValueError: a sentence without a word or without its end; word numbers of another shape.
        """
        is_token = labels != IGNORED
        pieces = is_token.sum(1) - 1
        places = torch.arange(labels.shape[1], device=labels.device)
        if word_ids is None:
            word_ids = torch.where(places < pieces.unsqueeze(1), places, -1)
        elif word_ids.shape != labels.shape:
            raise ValueError(
                f"decoder_word_ids has shape {tuple(word_ids.shape)} and labels {tuple(labels.shape)}: there is one number a "
                "piece."
            )
        lengths = word_ids.amax(1) + 1
        if may_look(labels, False):
            if (pieces < 1).any() or (lengths < 1).any():
                raise ValueError(
                    f"The sentence(s) of row(s) {rows_of((pieces < 1) | (lengths < 1))} have no word: there is nothing to "
                    "compress, so leave them out."
                )
            last = labels.gather(1, pieces.unsqueeze(1)).squeeze(1)
            if (last != end).any():
                raise ValueError(
                    f"The labels of row(s) {rows_of(last != end)} do not end with the end of the sentence, token {end}: it is "
                    "a part of what is predicted."
                )
        count = int(lengths.max())
        are_tokens = bool((pieces == lengths).all())
        if are_tokens:
            words = labels[:, :count].masked_fill(places[:count] >= lengths.unsqueeze(1), end)
        else:
            words = _first_places(labels, word_ids, count)
        return cls(labels, word_ids, lengths, words, are_tokens, end)

    @property
    def num_words(self) -> int:
        """n, of the longest sentence."""
        return self.words.shape[1]

    @property
    def inside(self) -> torch.Tensor:
        """Where there are words: (B, n) bool."""
        return torch.arange(self.num_words, device=self.words.device) < self.lengths.unsqueeze(1)

    def select(self, rows: torch.Tensor) -> "SourceWords":
        """Some of the rows (R,), as wide as all were."""
        return SourceWords(
            self.labels[rows], self.word_ids[rows], self.lengths[rows], self.words[rows], self.are_tokens, self.end
        )

    def check_tokens(self, what: str) -> None:
        """Raise a `ValueError` unless each word is one token.

        Args:
            what: needs that.
        """
        if not self.are_tokens:
            wrong = ((self.word_ids >= 0).sum(1) != self.lengths).nonzero().flatten().tolist()
            raise ValueError(
                f"Row(s) {wrong} have words of several pieces, and {what} is over words that are one token each: use a "
                "decoder_tokenizer of whole words ('words'), whatever the encoder reads; or leave word_ids and "
                "decoder_word_ids out, so that every piece is a word."
            )

    def check_encoder(self, lengths: torch.Tensor) -> None:
        """Raise a `ValueError` unless the encoder reads as many words (B,) as the decoder writes."""
        if may_look(lengths, False) and (lengths != self.lengths).any():
            wrong = lengths != self.lengths
            raise ValueError(
                f"The sentence(s) of row(s) {rows_of(wrong)} have {lengths[wrong].tolist()} words for the encoder and "
                f"{self.lengths[wrong].tolist()} for the decoder: a compression is of the words of both. Pass word_ids and "
                "decoder_word_ids where a word may be several pieces."
            )

    def labels_of_masks(self, masks: torch.Tensor) -> torch.Tensor:
        """The kept words of masks (..., B, n) as labels: their pieces and the end, -100 behind it: (..., B, L)."""
        of_word = self.word_ids.clamp(min=0).clamp(max=self.num_words - 1).expand(*masks.shape[:-1], -1)
        kept = masks.gather(-1, of_word) & (self.word_ids >= 0)
        order = (~kept).to(torch.uint8).argsort(dim=-1, stable=True)
        count = kept.sum(-1, keepdim=True)
        width = int(count.max()) + 1 if may_look(masks, False) else kept.shape[-1]
        pieces = self.labels.expand(kept.shape).gather(-1, order)[..., :width]
        places = torch.arange(width, device=masks.device)
        return torch.where(places < count, pieces, torch.where(places == count, self.end, IGNORED))


def _first_places(labels: torch.Tensor, word_ids: torch.Tensor, count: int) -> torch.Tensor:
    """For each word the place of the first word of the row with the same pieces: (B, n)."""
    batch, width = labels.shape
    is_piece = word_ids >= 0
    # The number of a piece in its word.
    first = torch.full((batch, count), width, device=labels.device)
    places = torch.arange(width, device=labels.device).expand(batch, -1)
    slots = word_ids.masked_fill(~is_piece, 0)
    first = first.scatter_reduce(1, slots, places.masked_fill(~is_piece, width), "amin")
    number = (places - first.gather(1, slots)).clamp(min=0)
    longest = int(number.masked_fill(~is_piece, 0).max()) + 1
    table = torch.full((batch, count * longest + 1), -1, device=labels.device)
    cells = torch.where(is_piece, slots * longest + number, count * longest)
    table = table.scatter(1, cells, labels)[:, :-1].view(batch, count, longest)
    equal = (table.unsqueeze(1) == table.unsqueeze(2)).all(-1)
    return equal.to(torch.uint8).argmax(-1)
