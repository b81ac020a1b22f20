"""The recurrent neural network grammar against itself written with a loop, against the axioms, and against its own samples."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel

from hf_lvm.backbones.rnng_decoder import RNNGDecoderConfig, RNNGDecoderModel
from hf_lvm.grammars.shift_reduce import Action
from tests.distributions.binary_tree.enumeration import all_masks, check_frequencies
from tests.grammars.test_shift_reduce import trees_of

BOS, EOS = 2, 3


def tiny(vocab_size: int = 5, **options) -> RNNGDecoderModel:
    torch.manual_seed(0)
    config = RNNGDecoderConfig(
        vocab_size=vocab_size, hidden_size=6, dropout=0.0, initializer_range=0.8, bos_token_id=BOS, eos_token_id=EOS, **options
    )
    return RNNGDecoderModel(config).double().eval()


def random_words(*shape: int, vocab_size: int = 5) -> torch.Tensor:
    words = torch.tensor([word for word in range(vocab_size) if word != EOS])
    return words[torch.randint(len(words), shape, generator=torch.Generator().manual_seed(1))]


@dataclass(frozen=True)
class Derivation:
    """A derivation that is not at its end, everything about it recomputed from the words and brackets of its stack."""

    model: RNNGDecoderModel
    stack: tuple = ()  # (word) or (left, right)
    words: tuple = ()

    def vector(self, constituent) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(constituent, int):
            embedding = self.model.embeddings.weight[constituent : constituent + 1]
            return embedding, torch.zeros_like(embedding)
        return self.model.composition(*self.vector(constituent[0]), *self.vector(constituent[1]))

    def state(self) -> torch.Tensor:
        sequence = [self.vector(BOS)[0], *(self.vector(each)[0] for each in self.stack)]
        for layer in self.model.stack_layers:
            state = (torch.zeros_like(sequence[0]),) * 2
            outputs = []
            for inputs in sequence:
                state = layer(layer.input(inputs), *state)
                outputs.append(state[0])
            sequence = outputs
        return sequence[-1]

    def log_reduce(self) -> torch.Tensor | None:
        return functional.logsigmoid(self.model.action_head(self.state()))[0, 0] if len(self.stack) > 1 else None

    def log_shift(self) -> torch.Tensor:
        if len(self.stack) < 2:
            return torch.zeros((), dtype=torch.float64)
        return functional.logsigmoid(-self.model.action_head(self.state()))[0, 0]

    def log_words(self, published: bool = False) -> torch.Tensor:
        logits = self.model.lm_head(self.state())[0]
        if len(self.stack) != 1 and not published:
            logits = torch.where(torch.arange(len(logits)) == EOS, -torch.inf, logits)
        return logits.log_softmax(0)

    def reduced(self) -> "Derivation":
        return replace(self, stack=(*self.stack[:-2], self.stack[-2:]))

    def shifted(self, word: int) -> "Derivation":
        return replace(self, stack=(*self.stack, word), words=(*self.words, word))


def by_hand(model: RNNGDecoderModel, words: list[int], mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(words, tree) as the model has it, and as the published code evaluates it."""
    spans = {tuple(span) for span in mask.nonzero().tolist()}
    derivation, firsts, ours, published = Derivation(model), [], 0.0, 0.0
    while True:
        position = len(derivation.words)
        if len(firsts) > 1 and (firsts[-2], position - 1) in spans:
            ours, published = (total + derivation.log_reduce() for total in (ours, published))
            derivation, firsts = derivation.reduced(), firsts[:-1]
            continue
        word = words[position] if position < len(words) else EOS
        ours = ours + derivation.log_shift() + derivation.log_words()[word]
        if word == EOS:
            return ours, published
        published = published + derivation.log_shift() + derivation.log_words(published=True)[word]
        derivation, firsts = derivation.shifted(word), [*firsts, position]


@pytest.mark.parametrize("layers", [1, 2])
def test_scores_and_gradients_are_those_of_a_loop_over_the_steps(layers):
    model, lengths = tiny(num_hidden_layers=layers), (5, 3, 1)
    spans = trees_of(*lengths, count=14, size=5).view(14, 3, 5, 5)
    words = random_words(3, 5)
    output = model(words, spans)
    found = {"ours": output.log_prob, "published": output.published_log_prob}
    expected = {name: torch.zeros(14, 3, dtype=torch.float64) for name in found}
    for tree in range(14):
        for row, length in enumerate(lengths):
            ours, published = by_hand(model, words[row, :length].tolist(), spans[tree, row])
            expected["ours"][tree, row], expected["published"][tree, row] = ours, published
    weights = torch.randn(14, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0.0, atol=1e-10)
        gradients = [
            torch.autograd.grad((weights * value).sum(), list(model.parameters()), retain_graph=True)
            for value in (found[name], expected[name])
        ]
        torch.testing.assert_close(*gradients, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(output.word_log_prob + output.action_log_prob, output.log_prob)


def test_the_probabilities_of_all_sentences_with_all_trees_sum_to_one():
    model, longest, total = tiny(vocab_size=4), 3, 0.0
    words = [0, 1, 2]
    for length in range(1, longest + 1):
        sentences = torch.cartesian_prod(*[torch.tensor(words)] * length).view(-1, length)
        masks = all_masks(length, length)
        spans = masks.unsqueeze(1).expand(-1, len(sentences), -1, -1)
        total += model(sentences, spans).log_prob.exp().sum().item()
    assert 0.05 < total < 0.95
    assert total + longer_than(longest, Derivation(model)) == pytest.approx(1.0, abs=1e-12)


@torch.no_grad()
def longer_than(most: int, derivation: Derivation) -> float:
    """The probability of one word more than `most`, from here."""
    reduce, shift, log_words = derivation.log_reduce(), derivation.log_shift(), derivation.log_words()
    total = 0.0 if reduce is None else reduce.exp().item() * longer_than(most, derivation.reduced())
    for word in (0, 1, 2):
        probability = (shift + log_words[word]).exp().item()
        total += probability * (longer_than(most, derivation.shifted(word)) if len(derivation.words) < most else 1.0)
    return total


def test_neither_padding_nor_other_sentences_nor_other_trees_matter():
    model, lengths = tiny(), (4, 2, 3)
    spans = trees_of(*lengths, count=5, size=4).view(5, 3, 4, 4)
    words = random_words(3, 4)
    together = model(words, spans).log_prob
    for row, length in enumerate(lengths):
        for tree in range(5):
            alone = model(words[row : row + 1, :length], spans[tree, row, :length, :length][None, None]).log_prob
            torch.testing.assert_close(alone[0, 0], together[tree, row], rtol=0.0, atol=1e-12)
    padded = functional.pad(words, (0, 2), value=EOS), functional.pad(spans, (0, 2, 0, 2))
    torch.testing.assert_close(model(*padded).log_prob, together, rtol=0.0, atol=1e-12)


def test_samples_have_the_frequencies_that_they_are_scored_with():
    model, generator = tiny(vocab_size=4), torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.lm_head.bias[EOS] += 1.0
        sampled = model.sample(4000, max_words=6, generator=generator)
        assert sampled.finished.float().mean() > 0.7
        kept = sampled.finished.nonzero().squeeze(1)
        assert (sampled.spans[kept].flatten(1).sum(1) == 2 * sampled.lengths[kept] - 1).all()
        counts: dict[tuple, int] = {}
        for row in kept.tolist():
            length = int(sampled.lengths[row])
            key = (*sampled.pieces[row, :length].tolist(), *sampled.spans[row].nonzero().flatten().tolist())
            counts[key] = counts.get(key, 0) + 1
        scores = model(sampled.pieces[kept], sampled.spans[kept].unsqueeze(0)).log_prob[0]
    probability = dict.fromkeys(counts, 0.0)
    for row, score in zip(kept.tolist(), scores, strict=True):
        length = int(sampled.lengths[row])
        key = (*sampled.pieces[row, :length].tolist(), *sampled.spans[row].nonzero().flatten().tolist())
        probability[key] = score.exp().item()
    frequent = [key for key in counts if probability[key] > 0.01]
    assert len(frequent) > 5
    others = 1 - sum(probability[key] for key in frequent)
    check_frequencies(
        torch.tensor([*(counts[key] for key in frequent), 4000 - sum(counts[key] for key in frequent)]),
        torch.tensor([*(probability[key] for key in frequent), others]),
    )


def test_steps_one_by_one_agree_with_the_score_and_forget_what_was_reduced():
    model, lengths = tiny(), (5, 4)
    spans = trees_of(*lengths, count=14, size=5).view(14, 2, 5, 5)
    words = random_words(2, 5)
    expected = model(words, spans)
    for tree in range(14):
        for row, length in enumerate(lengths):
            mask = {tuple(span) for span in spans[tree, row].nonzero().tolist()}
            state, firsts, position, total = model.begin(1), [], 0, 0.0
            while True:
                step = model.next_step(state)
                possible = torch.cat([step.reduces.unsqueeze(1), step.shifts], dim=1)
                assert step.continues is None
                torch.testing.assert_close(possible.logsumexp(1), torch.zeros(1, dtype=torch.float64), rtol=0.0, atol=1e-12)
                assert (possible[0, 1 + EOS] == -torch.inf) == (len(firsts) != 1)
                reduces = len(firsts) > 1 and (firsts[-2], position - 1) in mask
                word = EOS if position == length else int(words[row, position])
                total += (step.reduces[0] if reduces else step.shifts[0, word]).item()
                if not reduces and word == EOS:
                    break
                state = model.advance(state, torch.tensor([int(reduces)]), torch.tensor([word]))
                firsts = firsts[:-1] if reduces else [*firsts, position]
                position += not reduces
                assert state.constituents.shape[1] == len(firsts) == int(state.size)
            assert total == pytest.approx(expected.log_prob[tree, row].item(), abs=1e-10)


def test_a_sentence_cannot_go_on_after_its_end():
    model, spans = tiny(), trees_of(3, count=2, size=3).unsqueeze(1)
    for place in range(3):
        words = random_words(1, 3)
        words[0, place] = EOS
        assert (model(words, spans).log_prob == -torch.inf).all()


def test_log_probabilities_are_no_coarser_under_autocast_than_their_logits():
    model, spans, words = tiny().float(), trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    exact = model(words, spans)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, state = model(words, spans), model.begin(1)
        step = model.next_step(model.advance(state, torch.tensor([Action.SHIFT]), words[:, 0]))
    assert {each.dtype for each in (*rounded.values(), step.reduces, step.shifts)} == {torch.float32}
    torch.testing.assert_close(rounded.log_prob, exact.log_prob, rtol=0.02, atol=0.0)
    assert not torch.equal(rounded.log_prob, exact.log_prob)


def test_weights_of_few_bits_are_refused():
    model = tiny().bfloat16()
    for call in (lambda: model(random_words(1, 3), trees_of(3, count=2, size=3).unsqueeze(1)), lambda: model.begin(1)):
        with pytest.raises(ValueError, match=r"are torch.bfloat16.*load the model with dtype=torch.float32"):
            call()


def test_dropout_in_training_only():
    model = tiny()
    model.dropout.p = 0.5
    spans, words = trees_of(4, count=5, size=4).view(5, 1, 4, 4), random_words(1, 4)
    assert torch.equal(model(words, spans).log_prob, model(words, spans).log_prob)
    model.train()
    assert not torch.equal(model(words, spans).log_prob, model(words, spans).log_prob)


def test_it_is_saved_and_loaded_by_its_auto_class(tmp_path):
    model = tiny().float()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is RNNGDecoderModel and loaded.lm_head.weight is loaded.embeddings.weight
    for (name, before), after in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(before, after), name


def test_what_cannot_be_is_refused():
    model = tiny()
    with pytest.raises(ValueError, match=r"spans must be a mask \(K, 2, 4, 4\) of K trees .* but are \(2, 4, 4\)"):
        model(random_words(2, 4), all_masks(4, 4)[:2])
    for options, message in (
        ({"eos_token_id": 5}, "eos_token_id must be one of the 5 words, but is 5"),
        ({"bos_token_id": None}, "bos_token_id must be one of the 5 words, but is None"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), but is 1.0"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            RNNGDecoderConfig(vocab_size=5, **options)
    assert math.isfinite(model(random_words(1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool)).log_prob.item())


def test_what_is_dropped_belongs_to_sentences_and_to_trees_where_they_ask_for_it():
    words = random_words(1, 4).repeat(3, 1)
    trees = trees_of(4, count=1, size=4).expand(5, 3, -1, -1)
    for shares, per_sentence in ((True, 1), (False, 5)):
        model = tiny(shares_dropout=shares)
        model.config.dropout = model.dropout.p = 0.5
        torch.manual_seed(0)
        output = model.train()(words, trees)
        for field in ("word_log_prob", "action_log_prob"):
            different = [len(output[field][:, sentence].unique()) for sentence in range(3)]
            assert different == [per_sentence] * 3
            assert len(output[field].unique()) == 3 * per_sentence, "equal sentences lack other elements"
        evaluated = model.eval()(words, trees)
        assert len(evaluated.log_prob.unique()) == 1


def test_the_first_words_of_a_batch_are_drawn_with_masks_of_their_own():
    model = tiny()
    model.config.dropout = model.dropout.p = 0.5
    torch.manual_seed(0)
    single = torch.ones(1, 1, 1, 1, dtype=torch.bool).expand(1, 20, 1, 1)
    output = model.train()(random_words(1, 1).repeat(20, 1), single)
    assert len(output.word_log_prob.unique()) == 20
