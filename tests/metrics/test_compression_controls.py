"""Compressions that need no model, and the table in which they stand."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.metrics.compression.compression import compute_compression
from hf_lvm.metrics.compression.table import compression_table
from hf_lvm.metrics.compression.words import (
    common_count,
    control_texts,
    first_words,
    random_words,
    split_words,
    token_f1,
)

RULES = pytest.mark.parametrize("rule", ["whitespace", "punctuation"])


def test_words_by_rule():
    text = "Tom's so-called U.S. cat cost $3.50, didn't it?"
    assert split_words(text) == text.split()
    expected = "Tom's so - called U . S . cat cost $ 3 . 50 , didn't it ?"
    assert split_words(text, "punctuation") == expected.split()
    assert split_words(" ") == split_words("", "punctuation") == []


def test_token_f1_of_bags():
    assert token_f1(["a", "b"], ["b", "a", "c", "d"]) == pytest.approx(2 * 2 / 6)
    assert token_f1(["a", "a"], ["a"]) == pytest.approx(2 / 3)
    assert token_f1(["a"], ["A"]) == token_f1([], ["a"]) == token_f1([], []) == 0


def test_first_words_leave_the_text_between_them_as_it_is():
    assert first_words("It's late, Tom.", 2) == "It's late,"
    assert first_words("It's late, Tom.", 2, "punctuation") == "It's late"
    assert first_words("It's late, Tom.", 3, "punctuation") == "It's late,"
    assert first_words("a b", 5) == "a b"
    assert first_words("a b", 0) == ""


TEXTS = st.lists(st.sampled_from(["a", "B", "it's", "end.", "U.S.", ",", "é", "3.5"]), min_size=1, max_size=9).map(" ".join)


@RULES
@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, st.integers(0, 12)), min_size=1, max_size=5), seed=st.integers(0, 9))
def test_controls_have_the_length_of_their_prediction(rule, rows, seed):
    sources, counts = zip(*rows, strict=True)
    controls, common = control_texts(sources, counts, seed, rule)
    for row, (source, count) in enumerate(rows):
        words = split_words(source, rule)
        first, same, some, everything = (split_words(texts[row], rule) for texts in controls.values())
        assert first == words[:count]
        assert same == words[:common]
        assert everything == words
        assert len(some) == min(count, len(words))
        rest = iter(words)
        assert all(word in rest for word in some)  # in the order of the source


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(0, 60))
def test_one_k_for_all_comes_closest_to_the_words_of_all_predictions(lengths, total):
    differences = [abs(sum(min(count, length) for length in lengths) - total) for count in range(max(lengths) + 1)]
    assert common_count(lengths, total) == differences.index(min(differences))


def test_random_words_are_drawn_uniformly():
    generator = random.Random(0)
    draws = [random_words("a b c d", 2, generator) for _ in range(3000)]
    pairs = ["a b", "a c", "a d", "b c", "b d", "c d"]
    assert set(draws) == set(pairs)
    assert [draws.count(pair) for pair in pairs] == pytest.approx([500] * 6, abs=90)


def result(**options) -> dict:
    return compute_compression(["b c", "d e"], ["b c", "d f"], ["a b c d", "d e f"], **options)


def test_a_table_has_the_controls_of_each_result_and_its_gain():
    lines = compression_table({"pointer": result(), "a|b": result(seed=1)}).splitlines()
    header = "| | ROUGE-1 | ROUGE-2 | ROUGE-L | token F1 | ratio of words | copied words | prefixes | empty |"
    assert lines[:2] == [header, "|---|" + "---:|" * 8]
    labels = [line.split(" | ")[0] for line in lines[2:8]]
    assert labels == [
        "| **pointer**",
        "| pointer: first words, as many in each sentence",
        "| pointer: first 2 words",
        "| pointer: random words, as many in each sentence",
        "| pointer: whole source",
        "| pointer: gain over first words",
    ]
    assert lines[2].endswith("| 75.00 | 50.00 | 75.00 | 0.750 | 0.571 | 1.000 | 0.500 | 0.000 |")
    assert lines[3].endswith("| 50.00 | 0.00 | 50.00 | 0.500 | 0.571 |  |  |  |")
    assert lines[7].endswith("| +25.00 | +50.00 | +25.00 | +0.250 |  |  |  |  |")
    assert lines[8].startswith("| **a\\|b** |")
    assert lines[-1] == ("ROUGE F1 with stemming, 0-100; token F1 0-1; the best of several references; words by whitespace.")


def test_columns_that_were_measured_are_printed():
    table = compression_table({"pointer": result(reconstruction_nats=[4, 10], limit_bytes=75)})
    assert "| ROUGE-1 recall | ROUGE-2 recall | ROUGE-L recall |" in table
    assert "| nats / source word |" in table
    assert "| 2.000 |" in table
    assert table.endswith("Recall of the first 75 bytes.")


def test_no_score_is_printed_without_its_controls():
    with pytest.raises(ValueError, match="there is no result"):
        compression_table({})
    whole = result()
    some = {key: value for key, value in whole["controls"].items() if key != "keep_all"}
    for part, name in (
        ({key: value for key, value in whole.items() if key != "controls"}, "first_k and no first_k_corpus and no random_k"),
        ({**whole, "controls": some}, "keep_all"),
        ({key: value for key, value in whole.items() if key != "gain_over_first_k"}, "gain_over_first_k"),
    ):
        with pytest.raises(ValueError, match=f"result of 'pointer' has no {name}.*not printed without their controls"):
            compression_table({"pointer": part})


def test_scores_by_other_definitions_do_not_stand_in_one_table():
    with pytest.raises(ValueError, match="results of other words, multiple_references, limit_bytes cannot stand in one table"):
        compression_table({"one": result(), "other": result(words="punctuation")})
