"""One likelihood in four units: hand-computed numbers, published ones, and every way to get them wrong."""

import math

import numpy as np
import pytest

from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood

TWO_SENTENCES = {
    "negative_log_likelihoods": [20.0, 30.0],
    "num_tokens": [6, 9],
    "num_words": [4, 6],
    "num_bytes": [20, 31],
}


def test_every_unit_divides_the_same_nats():
    result = compute_text_likelihood(**TWO_SENTENCES)
    assert result["nats_per_sentence"] == 25.0
    assert result["word_perplexity"] == pytest.approx(math.exp(50 / 12))
    assert result["token_perplexity"] == pytest.approx(math.exp(50 / 15))
    assert result["bits_per_byte"] == pytest.approx(50 / math.log(2) / 51)
    assert result["nats_per_sentence_standard_error"] == pytest.approx(5.0)
    denominators = {key: result[key] for key in ("sentences", "words", "tokens", "bytes", "count_eos")}
    assert denominators == {"sentences": 2, "words": 12, "tokens": 15, "bytes": 51, "count_eos": True}


def test_leaving_out_the_end_of_sentence_changes_words_and_tokens_but_not_bytes():
    result = compute_text_likelihood(**TWO_SENTENCES, count_eos=False)
    assert (result["words"], result["tokens"], result["bytes"]) == (10, 13, 51)
    assert result["word_perplexity"] == pytest.approx(math.exp(50 / 10))
    assert result["token_perplexity"] == pytest.approx(math.exp(50 / 13))
    assert result["count_eos"] is False


def test_the_penn_treebank_convention_counts_one_end_per_sentence():
    # 3,761 test sentences of 78,669 words: -ELBO 101.28 is published as perplexity 101.4 per word.
    words = np.full(3761, 78669 // 3761)
    words[: 78669 - words.sum()] += 1
    result = compute_text_likelihood(np.full(3761, 101.28), words + 1, words, 5 * words)
    assert result["word_perplexity"] == pytest.approx(101.4, rel=2e-3)
    assert result["word_perplexity"] == result["token_perplexity"]


def test_perplexity_is_one_ratio_over_the_corpus_not_a_mean_over_sentences():
    short_and_long = compute_text_likelihood([1.0, 200.0], [1, 100], [0, 99], [1, 500])
    assert short_and_long["token_perplexity"] == pytest.approx(math.exp(201 / 101))
    assert short_and_long["token_perplexity"] != pytest.approx((math.exp(1) + math.exp(2)) / 2, rel=0.1)


def test_results_are_plain_python_values():
    result = compute_text_likelihood(*(np.array(column, dtype=np.float32) for column in TWO_SENTENCES.values()))
    assert {type(value) for value in result.values()} == {float, int, bool}


def test_one_sentence_has_no_standard_error():
    result = compute_text_likelihood([3.0], [2], [1], [4])
    assert result["nats_per_sentence_standard_error"] is None
    assert result["nats_per_sentence"] == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"negative_log_likelihoods": [20.0, math.nan]}, "not finite in 1 of 2 sentences, first at index 1"),
        ({"negative_log_likelihoods": [20.0, math.inf]}, "not finite"),
        ({"negative_log_likelihoods": [-20.0, -30.0]}, "not log p"),
        ({"negative_log_likelihoods": [[20.0], [30.0]]}, r"shape \(2, 1\)"),
        ({"num_words": [4]}, "num_words has 1 entries and negative_log_likelihoods has 2"),
        ({"num_tokens": [6, 0]}, "num_tokens is 0 at index 1.*the end of sentence is one of them"),
        ({"num_words": [4, -1]}, "num_words is -1 at index 1"),
        ({"num_tokens": [6, 8.5]}, "num_tokens is 8.5"),
        ({"num_bytes": [0, 0]}, "hold no bytes"),
        ({"num_tokens": [1, 1], "count_eos": False}, "hold no tokens"),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        compute_text_likelihood(**{**TWO_SENTENCES, **change})


def test_an_empty_corpus_is_an_error():
    with pytest.raises(ValueError, match="at least one sentence"):
        compute_text_likelihood([], [], [], [])
