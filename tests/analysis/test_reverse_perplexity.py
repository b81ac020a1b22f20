"""Judges of a language whose entropy is known, and the three perplexities of a text VAE."""

import itertools
import json
import math

import pytest
import torch

from hf_lvm.analysis.reverse_perplexity import (
    JudgeProtocol,
    draw_samples,
    measure_reverse_perplexity,
    score_rows,
    train_judge,
)
from tests.analysis.test_corpus import encoded, sensitive_vae, with_dropout

SMALL = JudgeProtocol(num_texts=256, steps=150, learning_rate=0.02, embedding_size=16, hidden_size=32, dropout=0.0)


@pytest.fixture(scope="module")
def all_texts():
    """Every sentence of three words out of four: 64 texts of probability 1/64."""
    return [" ".join(words) for words in itertools.product("abcd", repeat=3)]


@pytest.fixture(scope="module")
def rows(word_processor, all_texts):
    return word_processor.tokenize(all_texts)[1]


def test_a_judge_of_all_sentences_finds_their_entropy(word_processor, rows):
    scores = score_rows(train_judge(rows * 4, word_processor, SMALL), rows, word_processor)
    assert scores.mean().item() == pytest.approx(3 * math.log(4), rel=0.02)
    assert scores.mean() > 3 * math.log(4), "no model of text beats its entropy"


def test_a_judge_of_one_sentence_is_surprised_by_all_others(word_processor, all_texts, rows):
    judge = train_judge([rows[0]] * 64, word_processor, SMALL)
    scores = score_rows(judge, rows, word_processor)
    assert scores[0] < 0.5, "reverse perplexity sees the lack of variety that forward perplexity rewards"
    assert scores[1:].min() > 4 and scores.mean() > 2 * 3 * math.log(4)


def test_the_seed_decides_and_padding_does_not(word_processor, rows):
    protocol = JudgeProtocol(num_texts=9, steps=3, batch_size=4, embedding_size=8, hidden_size=8, dropout=0.5)
    before = torch.random.get_rng_state()
    texts = [row[:length] + row[-1:] for row, length in zip(rows, [1, 3, 2] * 3, strict=False)]
    first, again, other = (train_judge(texts, word_processor, protocol, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not first.training
    scores = score_rows(first, texts, word_processor)
    assert torch.equal(scores, score_rows(again, texts, word_processor))
    assert not torch.equal(scores, score_rows(other, texts, word_processor))
    torch.testing.assert_close(scores, score_rows(first, texts, word_processor, batch_size=1), rtol=1e-5, atol=1e-5)


def test_samples_are_as_many_as_asked_for_and_of_one_seed(word_processor):
    model = sensitive_vae()
    before = torch.random.get_rng_state()
    samples = draw_samples(model, word_processor, 70, seed=3, max_new_tokens=5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(samples) == 70 and all(len(text.split()) <= 5 for text in samples)
    assert samples == draw_samples(with_dropout(sensitive_vae()), word_processor, 70, seed=3, max_new_tokens=5)
    assert len(set(samples)) > 40


def test_three_perplexities_and_the_protocol_they_depend_on(word_processor):
    protocol = JudgeProtocol(num_texts=50, steps=2, embedding_size=8, hidden_size=8, max_new_tokens=6)
    train, held_out = encoded(word_processor, count=30), encoded(word_processor, count=9)
    result = measure_reverse_perplexity(sensitive_vae(), word_processor, train, held_out, protocol, seed=5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["protocol"]["num_texts"] == 30, "as many as there are"
    assert result["protocol"]["seed"] == 5 and result["protocol"]["steps"] == 2
    tokens = sum(map(len, held_out["labels"]))
    for name in ("reverse", "real"):
        assert (result[name]["sentences"], result[name]["tokens"], result[name]["count_eos"]) == (9, tokens, True)
    assert result["forward"]["sentences"] == 9
    # Hardly trained, a judge is nearly uniform over the 23 tokens.
    assert all(result[name]["token_perplexity"] == pytest.approx(23, rel=0.05) for name in ("reverse", "real", "forward"))
    assert result["reverse"] != result["real"]


def test_one_text_trains_no_judge(word_processor):
    train = encoded(word_processor, count=1)
    with pytest.raises(ValueError, match="a language model on 1 texts; give at least 2"):
        measure_reverse_perplexity(sensitive_vae(), word_processor, train, train)
