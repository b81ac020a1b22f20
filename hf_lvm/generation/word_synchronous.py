"""Beam search for the trees of given sentences under p(sentence, tree), and how surprising each word is (Stern et al. 2017,
Hale et al. 2018).

Partial derivations are compared where it is fair: after the same word. Between two words each may take as many REDUCEs as it
likes, round by round, all derivations of all sentences together; those whose SHIFT of the next word is among the best of a
round wait for the others. Only derivations that are alive take up room: a row is one of them, and says whose it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from hf_lvm.distributions.lengths import check_lengths, may_look
from hf_lvm.distributions.logarithms import finite
from hf_lvm.grammars.shift_reduce import (
    Action,
    DerivationState,
    NextStep,
    StepwiseGrammar,
    check_word_ids,
    trees_of_reduces,
)


@dataclass(frozen=True)
class FoundTrees:
    """The N most probable trees that were found for each of B sentences, best first, and surprisals. Nats.

    Attributes:
        spans: (N, B, n, n) bool, as `BinaryTreeCRF` has them; all False where fewer were found.
        log_prob: (B, N), log p(sentence, tree); -inf where there is no tree.
        surprisal: (B, n), of each word given the words before it, 0 past the end: -log of the probability of all derivations
            on the beam up to this word over that of those up to the word before. The sum over a beam is a lower bound of the
            probability of all derivations, so surprisals are approximate; their sum is an upper bound of -log p(sentence). In
            a model of sub-words a word includes that it does not go on.
        end_surprisal: (B,), of the end of the sentence.
    """

    spans: torch.Tensor
    log_prob: torch.Tensor
    surprisal: torch.Tensor
    end_surprisal: torch.Tensor


@torch.no_grad()
def word_synchronous_search(
    decoder: StepwiseGrammar,
    pieces: torch.LongTensor,
    word_ids: torch.LongTensor | None = None,
    lengths: torch.LongTensor | None = None,
    *,
    num_trees: int = 1,
    beam_size: int = 100,
    word_beam_size: int | None = None,
    fast_track: int = 0,
) -> FoundTrees:
    """The most probable trees of sentences, by a decoder as it is: in evaluation mode without dropout.

    Args:
        decoder: writes sentences with trees step by step.
        pieces: (B, S), without start and end, padded on the right with anything.
        word_ids: (B, S), the word that each piece belongs to, -1 past the end; None where every word is one piece.
        lengths: (B,), in words; None where `word_ids` say it, or where all have S words.
        num_trees: N.
        beam_size: derivations of a sentence that survive a round. A word is over once as many have got to the next one.
        word_beam_size: derivations of a sentence that go on from each word; None for as many as `beam_size`.
        fast_track: so many of the best SHIFTs of each round survive even if `beam_size` others are better.

    Raises:
        ValueError: beams without room, lengths or words that do not fit the pieces, or words of several pieces for a decoder
            that has none.
    """
    word_beam_size = beam_size if word_beam_size is None else word_beam_size
    if min(num_trees, beam_size, word_beam_size) < 1 or fast_track < 0:
        raise ValueError(
            "num_trees, beam_size and word_beam_size must be at least 1 and fast_track at least 0, but are "
            f"{num_trees}, {beam_size}, {word_beam_size} and {fast_track}."
        )
    batch, look = len(pieces), may_look(pieces, False)
    if lengths is None:
        lengths = torch.full_like(pieces[:, 0], pieces.shape[1]) if word_ids is None else word_ids.amax(1) + 1
    check_lengths(lengths, batch, pieces.shape[1], look)
    if word_ids is not None:
        check_word_ids(word_ids, pieces.shape, lengths, look)
    search = _Search(decoder, _Sentences.of(pieces, word_ids, lengths), beam_size, word_beam_size, fast_track)

    most, device = int(lengths.max()), pieces.device
    nothing = torch.zeros(batch, device=device)
    beam = _Derivations(decoder.begin(batch), torch.arange(batch, device=device), nothing, lengths.new_zeros(batch, most))
    complete, log_totals = [], []
    for word in range(most + 1):
        found, log_total = search.up_to_shift(beam, word)
        log_totals.append(log_total)
        complete += [ended for each in found if len(ended := each.without_state().where(lengths[each.sentence] == word))]
        found = [going for each in found if len(going := each.where(lengths[each.sentence] > word))]
        written = search.written(search.cut(found), word) if found else []
        if not written:
            break
        beam = _joined(written)
    return _results(complete, log_totals, lengths, num_trees)


@dataclass(frozen=True)
class _Derivations:
    """R partial derivations.

    Attributes:
        state: where they are.
        sentence: (R,), whose they are.
        log_prob: (R,), log p of all their steps.
        reduces: (R, n), how many REDUCEs have followed each word.
    """

    state: DerivationState | None
    sentence: torch.Tensor
    log_prob: torch.Tensor
    reduces: torch.Tensor

    def __len__(self) -> int:
        return len(self.sentence)

    def without_state(self) -> "_Derivations":
        return replace(self, state=None)

    def where(self, kept: torch.Tensor) -> "_Derivations":
        """Those for which a mask (R,) is True."""
        rows = kept.nonzero().squeeze(1)
        if len(rows) == len(self):
            return self
        state = self.state.select(rows) if self.state is not None and len(rows) else None
        return _Derivations(state, self.sentence[rows], self.log_prob[rows], self.reduces[rows])

    def advanced(self, decoder: StepwiseGrammar, action: Action, pieces: torch.Tensor | None = None) -> "_Derivations":
        """After the same action of all."""
        actions = torch.full_like(self.sentence, action)
        return replace(
            self, state=decoder.advance(self.state, actions, torch.zeros_like(actions) if pieces is None else pieces)
        )


def _joined(several: Sequence[_Derivations]) -> _Derivations:
    """All of them, which need not have taken the same number of steps."""
    first, *others = several
    state = first.state.join(*(each.state for each in others)) if others and first.state is not None else first.state
    tensors = [torch.cat([getattr(each, name) for each in several]) for name in ("sentence", "log_prob", "reduces")]
    return _Derivations(state, *tensors)


@dataclass(frozen=True)
class _Sentences:
    """Sentences as they are written.

    Attributes:
        lengths: (B,), in words.
        pieces: (B, S).
        begin: (B, n + 1), where each word begins.
        size: (B, n + 1), how many pieces it has; 0 past the end.
    """

    lengths: torch.Tensor
    pieces: torch.Tensor
    begin: torch.Tensor
    size: torch.Tensor

    @classmethod
    def of(cls, pieces: torch.Tensor, word_ids: torch.Tensor | None, lengths: torch.Tensor) -> "_Sentences":
        most = int(lengths.max())
        if word_ids is None:
            place = torch.arange(most + 1, device=pieces.device).expand(len(pieces), -1)
            return cls(lengths, pieces, place, (place < lengths.unsqueeze(1)).long())
        word = torch.where(word_ids < 0, most, word_ids)
        size = lengths.new_zeros(len(pieces), most + 1).scatter_add(1, word, (word_ids >= 0).long())
        return cls(lengths, pieces, size.cumsum(1) - size, size)

    def piece(self, sentence: torch.Tensor, word: int, number: int, end: int) -> torch.Tensor:
        """One piece of a word of these sentences (R,), or their end; -1 for an end inside a sentence, which cannot be."""
        place = (self.begin[sentence, word] + number).clamp(max=self.pieces.shape[1] - 1)
        piece = self.pieces[sentence, place]
        return torch.where(self.lengths[sentence] == word, end, piece.masked_fill(piece == end, -1))


@dataclass(frozen=True)
class _Search:
    """One search; see `word_synchronous_search`."""

    decoder: StepwiseGrammar
    sentences: _Sentences
    beam_size: int
    word_beam_size: int
    fast_track: int

    def up_to_shift(self, beam: _Derivations, word: int) -> tuple[list[_Derivations], torch.Tensor]:
        """Derivations that have come to the SHIFT of a word, which counts but has not been taken; and log p of all derivations
        on the beam up to the word before, (B,)."""
        batch, found, log_total = len(self.sentences.lengths), [], None
        arrived, last_word = torch.zeros_like(self.sentences.lengths), torch.tensor([word - 1], device=beam.sentence.device)
        while True:
            step = self.decoder.next_step(beam.state)
            if log_total is None:
                log_total = _log_sums(beam.log_prob + _log_closes(step), beam.sentence, batch)
            shifts = beam.log_prob + _of_piece(step.shifts, self._piece(beam, word, 0))
            reduces = beam.log_prob + step.reduces
            ranks = _ranks(torch.cat([shifts, reduces]), beam.sentence.repeat(2))
            arrives, goes_on = ((ranks < self.beam_size) & (torch.cat([shifts, reduces]) > -torch.inf)).chunk(2)
            if self.fast_track:
                arrives = arrives | (_ranks(shifts, beam.sentence) < self.fast_track) & (shifts > -torch.inf)
            found.append(replace(beam, log_prob=shifts).where(arrives))
            arrived = arrived.index_add(0, beam.sentence, arrives.long())
            beam = replace(beam, log_prob=reduces).where(goes_on & (arrived[beam.sentence] < self.beam_size))
            if not len(beam):
                return [each for each in found if len(each)], log_total
            beam = beam.advanced(self.decoder, Action.REDUCE)
            beam = replace(beam, reduces=beam.reduces.index_add(1, last_word, torch.ones_like(beam.reduces[:, :1])))

    def cut(self, found: list[_Derivations]) -> _Derivations:
        """Those that go on from a word."""
        together = _joined([each.without_state() for each in found])
        kept = _ranks(together.log_prob, together.sentence) < self.word_beam_size
        return _joined(
            [some for each, own in zip(found, kept.split([*map(len, found)]), strict=True) if len(some := each.where(own))]
        )

    def written(self, beam: _Derivations, word: int) -> list[_Derivations]:
        """The derivations after all pieces of a word, the first of which has been counted."""
        beam, written = beam.advanced(self.decoder, Action.SHIFT, self._piece(beam, word, 0)), []
        for number in range(1, int(self.sentences.size[:, word].max()) + 1):
            goes_on = self.sentences.size[beam.sentence, word] > number
            written.append(beam.where(~goes_on))
            beam = beam.where(goes_on)
            if not len(beam):
                break
            step, piece = self.decoder.next_step(beam.state), self._piece(beam, word, number)
            if step.continues is None:
                row = int(beam.sentence[0])
                raise ValueError(f"Word {word} of row {row} is several pieces, but the decoder has words of one piece only.")
            beam = replace(beam, log_prob=beam.log_prob + _of_piece(step.continues, piece))
            beam = beam.advanced(self.decoder, Action.CONTINUE, piece.clamp(min=0)).where(beam.log_prob > -torch.inf)
        return [each for each in written if len(each)]

    def _piece(self, beam: _Derivations, word: int, number: int) -> torch.Tensor:
        return self.sentences.piece(beam.sentence, word, number, self.decoder.config.eos_token_id)


def _results(
    complete: list[_Derivations], log_totals: list[torch.Tensor], lengths: torch.Tensor, num_trees: int
) -> FoundTrees:
    """What has come to its end, in order.

    Args:
        log_totals: for each word from the first on and for the end, log p of all derivations on the beam before it, (B,).
    """
    batch, most = len(lengths), int(lengths.max())
    totals = torch.stack(log_totals, dim=1)
    totals = functional.pad(totals, (0, most + 1 - totals.shape[1]), value=-torch.inf)
    log_prob, spans = totals.new_full((batch, num_trees), -torch.inf), lengths.new_zeros(num_trees, batch, most, most).bool()
    whole = totals.new_full((batch,), -torch.inf)
    if complete:
        found = _joined(complete)
        whole = _log_sums(found.log_prob, found.sentence, batch)
        rank = _ranks(found.log_prob, found.sentence)
        best = (rank < num_trees).nonzero().squeeze(1)
        rank, sentence = rank[best], found.sentence[best]
        log_prob[sentence, rank] = found.log_prob[best]
        spans[rank, sentence] = trees_of_reduces(found.reduces[best], lengths[sentence])
    # log p up to each word, and to the end behind the last.
    place = torch.arange(most + 1, device=lengths.device)
    after = torch.cat([totals[:, 1:], whole.unsqueeze(1)], dim=1)
    after = torch.where(place == lengths.unsqueeze(1), whole.unsqueeze(1), after)
    surprisal = torch.where(after == -torch.inf, torch.inf, totals - after)
    is_word = place < lengths.unsqueeze(1)
    end_surprisal = surprisal.gather(1, lengths.unsqueeze(1)).squeeze(1)
    return FoundTrees(spans, log_prob, torch.where(is_word, surprisal, 0.0)[:, :most], end_surprisal)


def _of_piece(log_probs: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """log_probs (R, V) of one piece a row, (R,); -inf of a piece of -1."""
    return log_probs.gather(1, pieces.clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(pieces < 0, -torch.inf)


def _log_closes(step: NextStep) -> torch.Tensor:
    """log p that the word on top does not go on: (R,)."""
    if step.continues is None:
        return torch.zeros_like(step.reduces)
    return torch.logaddexp(step.reduces, step.shifts.logsumexp(1))


def _log_sums(log_prob: torch.Tensor, sentence: torch.Tensor, batch: int) -> torch.Tensor:
    """The logarithm of the sum of exp(log_prob), (R,), over the rows of each sentence: (B,); -inf where it has none."""
    highest = log_prob.new_full((batch,), -torch.inf).scatter_reduce(0, sentence, log_prob, "amax")
    # Where all rows of a sentence are impossible -inf would be taken from -inf.
    total = log_prob.new_zeros(batch).index_add(0, sentence, (log_prob - finite(highest)[sentence]).exp())
    return highest + total.log()


def _ranks(log_prob: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
    """How many rows of the same sentence have a higher log_prob, or the same and stand before: (R,)."""
    order = log_prob.argsort(descending=True, stable=True)
    order = order[sentence[order].argsort(stable=True)]
    ordered = sentence[order]
    place = torch.arange(len(order), device=order.device)
    return torch.empty_like(order).index_put((order,), place - torch.searchsorted(ordered, ordered))
