"""What a reconstruction keeps: each number on sentences whose answer is counted by hand."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.metrics.reconstruction.reconstruction import (
    compute_reconstruction,
    content_words,
    edit_similarity,
    repeats_a_word_three_times,
)


def test_a_perfect_reconstruction_has_full_marks():
    sentences = ["The quick brown fox jumps over a dog .", "Return the length of an object ."]
    result = compute_reconstruction(sentences, [f"  {sentence} " for sentence in sentences])
    assert result == {
        "exact_match": 1.0,
        "token_accuracy": 1.0,
        "edit_similarity": 1.0,
        "content_word_recall": 1.0,
        "bleu": pytest.approx(100.0),
        "triple_repeats": 0,
        "triple_repeat_share": 0.0,
    }


def test_partial_matches_are_counted_as_defined():
    result = compute_reconstruction(
        predictions=["the red cat sat", "dogs dogs dogs bark"], references=["the cat sat down", "dogs bark loudly"]
    )
    assert result["exact_match"] == 0
    assert result["token_accuracy"] == pytest.approx(2 / 8)  # "the" and the first "dogs" of 4 + 4 positions
    assert result["edit_similarity"] == pytest.approx(((1 - 2 / 4) + (1 - 3 / 4)) / 2)
    assert result["content_word_recall"] == pytest.approx(4 / 5)  # cat, sat, dogs, bark; not loudly
    assert (result["triple_repeats"], result["triple_repeat_share"]) == (1, 0.5)
    assert 0 < result["bleu"] < 50


def test_content_words_are_words_with_letters_that_say_something():
    assert content_words("The cat's 2024 file_name isn't on an <unk> 3rd MAT, Straße!") == {
        "cat's",
        "file_name",
        "3rd",
        "mat",
        "straße",
    }
    assert content_words("It’s what they’ve been") == set()


def test_recall_counts_each_content_word_of_the_corpus_once_per_sentence():
    result = compute_reconstruction(["cats", ""], ["cats cats cats dogs", "birds fly"])
    assert result["content_word_recall"] == pytest.approx(1 / 4)
    assert compute_reconstruction(["anything"], ["it is to be"])["content_word_recall"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the the the", True),
        ("He said: No, no, NO!", True),
        (", , , .", True),
        ("very very good , very very good", False),
        ("wait ... what", False),
        ("a a", False),
        ("", False),
        ("x a b c a b c a b c", False),
    ],
)
def test_loops_are_found_in_any_case_and_punctuation(text, expected):
    assert repeats_a_word_three_times(text) is expected


@functools.cache
def edit_distance(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """The recursive definition."""
    if not left or not right:
        return len(left) + len(right)
    return min(
        edit_distance(left[1:], right) + 1,
        edit_distance(left, right[1:]) + 1,
        edit_distance(left[1:], right[1:]) + (left[0] != right[0]),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_edit_similarity_follows_the_recursive_definition(left, right):
    longest = max(len(left), len(right))
    expected = 1 - edit_distance(tuple(left), tuple(right)) / longest if longest else 1.0
    assert edit_similarity(" ".join(left), " ".join(right)) == pytest.approx(expected)


def test_an_empty_prediction_scores_nothing():
    result = compute_reconstruction([""], ["some words here"])
    assert result["token_accuracy"] == result["edit_similarity"] == result["bleu"] == 0
    assert result["content_word_recall"] == 0


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        compute_reconstruction(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least one pair"):
        compute_reconstruction([], [])
    with pytest.raises(ValueError, match="references is made of list"):
        compute_reconstruction(["a"], [["a"]])
    with pytest.raises(ValueError, match="predictions is made of one string"):
        compute_reconstruction("a cat", ["a cat"])
