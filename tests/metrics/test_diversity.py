"""Self-BLEU, distinct n-grams and duplicates on samples whose answer is known, and against sacrebleu's own sentences."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from hf_lvm.metrics.diversity.diversity import compute_diversity, self_bleu


@pytest.mark.parametrize("sentence", ["a cat sat on the mat", "rain", "two words"])
def test_one_sentence_again_and_again(sentence):
    result = compute_diversity([sentence, f" {sentence} ", sentence.replace(" ", "  ")])
    assert result["self_bleu"] == pytest.approx(100)
    assert result["duplicate_share"] == pytest.approx(2 / 3)
    assert result["distinct_1"] == pytest.approx(1 / 3)
    assert result["sentences"] == 3


def test_sentences_without_a_word_in_common():
    result = compute_diversity(["a b c d e", "f g h i j", "k l m n o p"])
    assert result == {
        "self_bleu": 0.0,
        "distinct_1": 1.0,
        "distinct_2": 1.0,
        "duplicate_share": 0.0,
        "sentences": 3,
        "max_order": 4,
    }


def test_numbers_counted_by_hand():
    result = compute_diversity(["a b c", "a b d", "a e", ""], max_order=2)
    assert result["distinct_1"] == pytest.approx(5 / 8)  # a b c d e
    assert result["distinct_2"] == pytest.approx(4 / 5)  # ab bc bd ae
    # "a b c": 2 of 3 words and 1 of 2 pairs; "a e": 1 of 2 words, no pair (0.1 of 1), one word short of its reference.
    three = (2 / 3 * 1 / 2) ** 0.5
    two = (1 / 2 * 0.1 / 1) ** 0.5 * math.exp(1 - 3 / 2)
    assert result["self_bleu"] == pytest.approx(100 * (2 * three + two + 0) / 4)


WORDS = st.lists(st.sampled_from("abc"), max_size=7)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=7), st.integers(1, 5))
def test_it_is_the_mean_of_sacrebleu_with_all_others_as_references(sentences, max_order):
    bleu = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True, max_ngram_order=max_order)
    texts = [" ".join(words) for words in sentences]
    expected = [bleu.sentence_score(text, texts[:at] + texts[at + 1 :]).score for at, text in enumerate(texts)]
    assert self_bleu(sentences, max_order) == pytest.approx(sum(expected) / len(texts))


def test_nothing_but_empty_sentences_has_no_ngrams():
    result = compute_diversity(["", " "])
    assert (result["distinct_1"], result["distinct_2"], result["duplicate_share"]) == (None, None, 0.5)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="there are 1 predictions.*at least two"):
        compute_diversity(["a"])
    with pytest.raises(ValueError, match="predictions is made of one string"):
        compute_diversity("a cat")
    with pytest.raises(ValueError, match="predictions is made of list, str"):
        compute_diversity(["a", ["b"]])
    with pytest.raises(ValueError, match="max_order is 0"):
        compute_diversity(["a", "b"], max_order=0)
