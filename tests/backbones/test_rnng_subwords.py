"""The recurrent neural network grammar over words of several pieces, against a loop, the axioms and its own samples."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional

from hf_lvm.backbones.rnng_decoder import RNNGDecoderModel
from hf_lvm.grammars.shift_reduce import Action
from tests.backbones.test_rnng_decoder import EOS, Derivation, random_words, tiny
from tests.distributions.binary_tree.enumeration import all_masks, check_frequencies
from tests.grammars.test_shift_reduce import trees_of


@dataclass(frozen=True)
class PieceDerivation(Derivation):
    """A derivation of pieces; `words` are all of them, a word on the stack is a left-branching tree of its own."""

    is_open: bool = False

    def log_continue(self, goes_on: bool) -> torch.Tensor:
        if not self.is_open:
            return torch.zeros((), dtype=torch.float64)
        log_odds = self.model.continue_head(self.state())[0, 0]
        return functional.logsigmoid(log_odds if goes_on else -log_odds)

    def log_reduce(self) -> torch.Tensor | None:
        log_prob = super().log_reduce()
        return None if log_prob is None else self.log_continue(False) + log_prob

    def log_shift(self) -> torch.Tensor:
        return self.log_continue(False) + super().log_shift()

    def log_pieces_inside(self, published: bool = False) -> torch.Tensor:
        logits = self.model.lm_head(self.state())[0]
        return (logits if published else torch.where(torch.arange(len(logits)) == EOS, -torch.inf, logits)).log_softmax(0)

    def reduced(self) -> "PieceDerivation":
        return replace(super().reduced(), is_open=False)

    def shifted(self, word: int) -> "PieceDerivation":
        return replace(super().shifted(word), is_open=True)

    def continued(self, piece: int) -> "PieceDerivation":
        return replace(self, stack=(*self.stack[:-1], (self.stack[-1], piece)), words=(*self.words, piece))


def by_hand(
    model: RNNGDecoderModel, words: list[list[int]], mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p(words, tree) as the model has it, as the published code would, and of the actions alone."""
    spans = {tuple(span) for span in mask.nonzero().tolist()}
    derivation, firsts, ours, published, actions = PieceDerivation(model), [], 0.0, 0.0, 0.0
    for position in range(len(words) + 1):
        while len(firsts) > 1 and (firsts[-2], position - 1) in spans:
            ours, published = (total + derivation.log_reduce() for total in (ours, published))
            actions = actions + derivation.log_reduce() - derivation.log_continue(False)
            derivation, firsts = derivation.reduced(), firsts[:-1]
        actions = actions + derivation.log_shift() - derivation.log_continue(False)
        ours = ours + derivation.log_shift()
        if position == len(words):
            # The published convention leaves out the end itself, but not that the last word did not go on.
            return ours + derivation.log_words()[EOS], published + derivation.log_continue(False), actions
        first, *rest = words[position]
        ours = ours + derivation.log_words()[first]
        published = published + derivation.log_shift() + derivation.log_words(published=True)[first]
        derivation, firsts = derivation.shifted(first), [*firsts, position]
        for piece in rest:
            ours = ours + derivation.log_continue(True) + derivation.log_pieces_inside()[piece]
            published = published + derivation.log_continue(True) + derivation.log_pieces_inside(published=True)[piece]
            derivation = derivation.continued(piece)


def word_ids_of(*pieces_of_words: list[int], size: int) -> torch.Tensor:
    """(B, size) from how many pieces each word has."""
    rows = [[word for word, pieces in enumerate(row) for _ in range(pieces)] for row in pieces_of_words]
    return torch.tensor([[*row, *[-1] * (size - len(row))] for row in rows])


def split(pieces: torch.Tensor, word_ids: torch.Tensor) -> list[list[int]]:
    return [pieces[word_ids == word].tolist() for word in range(int(word_ids.max()) + 1)]


def test_scores_and_gradients_are_those_of_a_loop_over_the_steps():
    model = tiny(subwords=True)
    word_ids = word_ids_of([2, 1, 3, 1], [1, 1, 1], [3], [1], size=8)
    spans, pieces = trees_of(4, 3, 1, 1, count=5, size=5).view(5, 4, 5, 5), random_words(4, 8)
    output = model(pieces, spans, word_ids)
    found = {"ours": output.log_prob, "published": output.published_log_prob, "actions": output.action_log_prob}
    expected = {name: torch.zeros(5, 4, dtype=torch.float64) for name in found}
    for tree in range(5):
        for row in range(4):
            numbers = by_hand(model, split(pieces[row], word_ids[row]), spans[tree, row])
            for name, number in zip(found, numbers, strict=True):
                expected[name][tree, row] = number
    weights = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0.0, atol=1e-10)
        gradients = [
            torch.autograd.grad((weights * value).sum(), list(model.parameters()), retain_graph=True, materialize_grads=True)
            for value in (found[name], expected[name])
        ]
        torch.testing.assert_close(*gradients, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(output.word_log_prob + output.action_log_prob, output.log_prob)


def test_the_probabilities_of_all_sentences_with_all_trees_sum_to_one():
    model, longest, total = tiny(vocab_size=4, subwords=True), 3, 0.0
    for length in range(1, longest + 1):
        sentences = torch.cartesian_prod(*[torch.tensor([0, 1, 2])] * length).view(-1, length)
        for ends in torch.cartesian_prod(*[torch.tensor([0, 1])] * (length - 1), torch.tensor([0])).view(-1, length).tolist():
            word_ids = torch.tensor([0, *ends[: length - 1]]).cumsum(0)
            words = int(word_ids[-1]) + 1
            spans = all_masks(words, words).unsqueeze(1).expand(-1, len(sentences), -1, -1)
            total += model(sentences, spans, word_ids.expand(len(sentences), -1)).log_prob.exp().sum().item()
    assert 0.05 < total < 0.95
    assert total + longer_than(longest, PieceDerivation(model)) == pytest.approx(1.0, abs=1e-12)


@torch.no_grad()
def longer_than(most: int, derivation: PieceDerivation) -> float:
    """The probability of one piece more than `most`, from here."""
    reduce = derivation.log_reduce()
    total = 0.0 if reduce is None else reduce.exp().item() * longer_than(most, derivation.reduced())
    options = [(derivation.log_shift() + derivation.log_words(), derivation.shifted)]
    if derivation.is_open:
        options.append((derivation.log_continue(True) + derivation.log_pieces_inside(), derivation.continued))
    for log_probs, follow in options:
        for piece in (0, 1, 2):
            rest = longer_than(most, follow(piece)) if len(derivation.words) < most else 1.0
            total += log_probs[piece].exp().item() * rest
    return total


def test_words_of_one_piece_need_no_word_ids_and_padding_does_not_matter():
    model, spans, pieces = tiny(subwords=True), trees_of(4, 2, count=5, size=4).view(5, 2, 4, 4), random_words(2, 4)
    word_ids = word_ids_of([1] * 4, [1] * 2, size=4)
    together = model(pieces, spans, word_ids).log_prob
    torch.testing.assert_close(model(pieces, spans).log_prob, together, rtol=0.0, atol=0.0)
    padded = functional.pad(pieces, (0, 3), value=EOS), functional.pad(spans, (0, 2, 0, 2))
    longer = model(*padded, functional.pad(word_ids, (0, 3), value=-1)).log_prob
    torch.testing.assert_close(longer, together, rtol=0.0, atol=1e-12)


def test_steps_one_by_one_agree_with_the_score():
    model, word_ids = tiny(subwords=True), word_ids_of([1, 3, 2], size=6)
    spans, pieces = trees_of(3, count=2, size=3).view(2, 1, 3, 3), random_words(1, 6)
    expected = model(pieces, spans, word_ids).log_prob
    for tree in range(2):
        mask = {tuple(span) for span in spans[tree, 0].nonzero().tolist()}
        state, firsts, position, total = model.begin(2).select(torch.tensor([1])), [], 0, 0.0
        while True:
            step = model.next_step(state)
            possible = torch.cat([step.reduces.unsqueeze(1), step.shifts, step.continues], dim=1)
            torch.testing.assert_close(possible.logsumexp(1), torch.zeros(1, dtype=torch.float64), rtol=0.0, atol=1e-12)
            word = int(word_ids[0, position]) if position < 6 else 3
            piece = int(pieces[0, position]) if position < 6 else EOS
            goes_on = position > 0 and word == int(word_ids[0, position - 1])
            reduces = not goes_on and len(firsts) > 1 and (firsts[-2], word - 1) in mask
            action = Action.CONTINUE if goes_on else Action.REDUCE if reduces else Action.SHIFT
            options = {Action.CONTINUE: step.continues, Action.SHIFT: step.shifts}
            total += (step.reduces[0] if reduces else options[action][0, piece]).item()
            if piece == EOS and not reduces:
                break
            state = model.advance(state, torch.tensor([action]), torch.tensor([piece]))
            firsts = firsts[:-1] if reduces else firsts if goes_on else [*firsts, word]
            position += not reduces
            assert state.constituents.shape[1] == len(firsts) == int(state.size)
        assert total == pytest.approx(expected[tree, 0].item(), abs=1e-10)


def test_samples_have_the_frequencies_that_they_are_scored_with():
    model, count = tiny(vocab_size=4, subwords=True), 4000
    with torch.no_grad():
        model.lm_head.bias[EOS] += 2.0
        model.continue_head.bias -= 1.0
    sampled = model.sample(count, max_words=5, generator=torch.Generator().manual_seed(0))
    assert sampled.finished.float().mean() > 0.7 and (sampled.word_ids.amax(1) + 1 == sampled.lengths).all()
    kept = sampled.finished.nonzero().squeeze(1)
    assert (sampled.spans[kept].flatten(1).sum(1) == 2 * sampled.lengths[kept] - 1).all()
    with torch.no_grad():
        scores = model(sampled.pieces[kept], sampled.spans[kept].unsqueeze(0), sampled.word_ids[kept]).log_prob[0]
    rows = torch.cat([each[kept].flatten(1).long() for each in (sampled.pieces, sampled.word_ids, sampled.spans)], dim=1)
    _, kinds, counts = rows.unique(dim=0, return_inverse=True, return_counts=True)
    probability = torch.zeros(len(counts), dtype=torch.float64).index_put((kinds,), scores.exp())
    frequent = probability > 0.01
    assert frequent.sum() > 5
    counts, probability = counts[frequent], probability[frequent]
    check_frequencies(torch.cat([counts, count - counts.sum()[None]]), torch.cat([probability, 1 - probability.sum()[None]]))


def test_what_cannot_be_is_refused():
    model, spans, pieces = tiny(subwords=True), trees_of(2, 3, count=1, size=3).view(1, 2, 3, 3), random_words(2, 4)
    with pytest.raises(ValueError, match="needs a model whose config has subwords=True"):
        tiny()(pieces, spans, word_ids_of([2, 2], [1, 1, 2], size=4))
    for word_ids, message in (
        (word_ids_of([2, 1], [1, 1, 1], size=3), r"word_ids must be one integer for each piece, \(2, 4\), but is \(2, 3\)"),
        (word_ids_of([2, 2], [1, 1, 2], size=4).double(), r"but is \(2, 4\) of torch.float64"),
        (torch.tensor([[0, 0, 1, -1], [0, 2, 1, -1]]), r"those of row 1 are \[0, 2, 1, -1\]"),
        (torch.tensor([[1, 1, 2, -1], [0, 1, 2, -1]]), "those of row 0"),
        (torch.tensor([[0, -1, 1, -1], [0, 1, 2, -1]]), "those of row 0"),
        (torch.tensor([[0, 1, -1, -2], [0, 1, 2, -1]]), "those of row 0"),
        (torch.tensor([[0, 1, 1, -1], [0, 1, -1, -1]]), "word_ids of row 1 have 2 words, but its trees 3"),
    ):
        with pytest.raises(ValueError, match=message):
            model(pieces, spans, word_ids)
    with pytest.raises(ValueError, match=r"spans must be a mask \(K, 2, 3, 3\)"):
        model(pieces, spans[:, :1], word_ids_of([2, 2], [1, 1, 2], size=4))
