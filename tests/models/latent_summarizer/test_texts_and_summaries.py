"""Text in, summary out: lengths, ranks, surfaces and credits."""

import pytest
import torch

from hf_lvm.analysis.summary_length import bonus_for_ratio
from tests.models.latent_summarizer.test_pointers import summarizer as pointing
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import VOCABULARY

TEXTS = ["a b c b d", "e", "f g z f"]


@pytest.fixture(params=["delete", "marginal", "pointer", "pointer_vocab"])
def model(request):
    if request.param == "marginal":
        return tiny_summarizer(perturbation=0.4, objective="marginal")
    if request.param == "delete":
        return tiny_summarizer(perturbation=0.4)
    return pointing(request.param, vocab_size=VOCABULARY).float()


def test_as_many_words_as_asked_for(model, word_processor, caplog):
    for ratio, counts in ((0.4, [2, 1, 2]), (1.0, [5, 1, 4])):
        found = model.summarize(TEXTS, processor=word_processor, ratio=ratio)
        assert [len(text.split()) for text in found] == counts
    with caplog.at_level("WARNING"):
        found = model.summarize(TEXTS, processor=word_processor, words=3)
    assert [len(text.split()) for text in found] == [3, 1, 3]
    assert "1 text(s) have fewer than 3 words and keep all they have" in caplog.text
    assert model.summarize("a b", processor=word_processor, batch_size=1)[0]


def test_ranks_and_scores(model, word_processor):
    for text, found in zip(TEXTS, model.summarize_n_best(TEXTS, 4, processor=word_processor), strict=True):
        scores = [each.log_prob for each in found]
        assert scores == sorted(scores, reverse=True) and len({each.text for each in found}) == len(found) >= 1
        (first, *_) = model.summarize_n_best(text, 4, processor=word_processor)[0]
        assert first.text == found[0].text
        assert first.log_prob == pytest.approx(found[0].log_prob, abs=1e-4)
        assert found[0].num_words == len(found[0].text.split())
        assert found[0].reconstruction < 0 and found[0].log_prior < 0


def test_an_unknown_word_stands_as_it_is(word_processor):
    model = tiny_summarizer(perturbation=0.4)
    assert model.summarize("z z", processor=word_processor, ratio=1.0) == ["z z"]
    assert pointing("pointer", vocab_size=VOCABULARY).float().summarize("z", processor=word_processor) == ["z"]


@torch.no_grad()
def test_credit_is_what_a_word_explains(model, word_processor):
    (best,) = model.summarize_n_best("a b c b d", 1, processor=word_processor, words=3)[0]
    (credits,) = model.explain("a b c b d", processor=word_processor, words=3)
    assert [each.word for each in credits] == best.text.split()
    (alone,) = model.summarize_n_best("a b c b d", 1, processor=word_processor, words=1)[0]
    (credit,) = model.explain("a b c b d", processor=word_processor, words=1)[0]
    assert credit.nats == pytest.approx(alone.explained, abs=1e-4)


@torch.no_grad()
def test_empty_summaries_have_no_words_to_credit(word_processor):
    model = tiny_summarizer(allow_empty=True)
    options = {"processor": word_processor, "word_bonus": -1e4}
    assert model.summarize(TEXTS, **options) == [""] * len(TEXTS)
    assert model.explain(TEXTS, **options) == [[] for _ in TEXTS]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": 0.0}, "ratio is 0.0: words of the summary"),
        ({"ratio": 1.2}, "ratio is 1.2"),
        ({"words": 0}, "words is 0: a summary has at least 1"),
        ({"words": 2, "ratio": 0.5}, "give one of the two"),
    ],
)
def test_lengths_that_are_none(word_processor, options, said):
    with pytest.raises(ValueError, match=said):
        tiny_summarizer().summarize(TEXTS, processor=word_processor, **options)


def test_an_empty_text_is_named(word_processor):
    with pytest.raises(ValueError, match="text 1 is empty"):
        tiny_summarizer().summarize(["a", " "], processor=word_processor)


def test_of_no_texts_there_are_no_summaries(word_processor):
    assert tiny_summarizer().summarize([], processor=word_processor) == []
    assert tiny_summarizer().explain([], processor=word_processor) == []


def test_the_words_that_agree_best(word_processor):
    model = tiny_summarizer(perturbation=0.4)
    options = {"processor": word_processor, "decoding": "expected_f1"}
    found, best = model.summarize_n_best(TEXTS, 1, **options), model.summarize_n_best(TEXTS, 1, processor=word_processor)
    for (own,), (other,) in zip(found, best, strict=True):
        assert own.num_words == len(own.text.split()) >= 1 and own.log_prob <= other.log_prob + 1e-5
    assert [len(text.split()) for text in model.summarize(TEXTS, words=2, **options)] == [2, 1, 2]
    (credit, *_) = model.explain(TEXTS, **options)[1]
    assert credit.word == "e"
    with pytest.raises(ValueError, match="finds one compression"):
        model.summarize_n_best(TEXTS, 2, **options)
    with pytest.raises(ValueError, match="Unknown decoding 'f1'"):
        model.summarize(TEXTS, processor=word_processor, decoding="f1")


def test_a_bonus_for_each_word_moves_lengths_and_not_log_q(word_processor):
    model, text = tiny_summarizer(perturbation=0.4), "a b c b d"
    every = model.summarize_n_best(text, 32, processor=word_processor)[0]
    for bonus in (-2.0, 0.7, 2.0):
        found = model.summarize_n_best(text, 1, processor=word_processor, word_bonus=bonus)[0][0]
        wanted = max(every, key=lambda each: each.log_prob + bonus * each.num_words)
        assert found.text == wanted.text and found.log_prob == pytest.approx(wanted.log_prob, abs=1e-4)
        # What agrees best under the tilted distribution is written down from it, too.
        assert model.summarize(text, processor=word_processor, word_bonus=bonus, decoding="expected_f1")[0]
    assert model.summarize(text, processor=word_processor, word_bonus=50.0) == [text]
    with pytest.raises(ValueError, match="word_bonus is 1.0, and the posterior_type 'pointer' takes none"):
        pointing("pointer", vocab_size=VOCABULARY).float().summarize(text, processor=word_processor, word_bonus=1.0)


@pytest.mark.parametrize("decoding", ["mode", "expected_f1"])
def test_the_bonus_of_a_ratio(word_processor, decoding):
    model = tiny_summarizer(perturbation=0.4)
    texts = ["a b c b d e f g h i", "f g z f a c d d q r p o", "e d c b a f g h i k l m n"]
    options = {"processor": word_processor, "decoding": decoding}
    for ratio in (0.3, 0.6, 1.0):
        bonus = bonus_for_ratio(model, texts, word_processor, ratio, decoding=decoding)
        kept = sum(len(each.split()) for each in model.summarize(texts, word_bonus=bonus, **options)) / 35
        assert kept == pytest.approx(ratio, abs=0.09), "three texts go by steps"
    for wrong, said in (({"ratio": 0.0}, "ratio is 0.0"), ({"texts": []}, "There are no texts")):
        with pytest.raises(ValueError, match=said):
            bonus_for_ratio(**{"model": model, "texts": texts, "processor": word_processor, "ratio": 0.5} | wrong)
