"""Trees in and out: what is read from strings, nltk trees and spans, and that writing loses nothing of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk import Tree

from hf_lvm.metrics.bracket_f1.bracketings import Bracketing, read_bracketing, write_bracketing

TAGGED = "(S (NP (DT the) (NN dog)) (VP (VP (VBZ barks))) (. .))"


def test_a_string_and_an_nltk_tree_are_read_alike():
    expected = Bracketing(("the", "dog", "barks", "."), ("DT", "NN", "VBZ", "."), ((0, 1), (2, 2), (2, 2), (0, 3)))
    assert read_bracketing(TAGGED) == read_bracketing(Tree.fromstring(TAGGED)) == expected


def test_words_may_stand_without_tags():
    tree = read_bracketing("(S (NP the (NN dog)) barks)")
    assert tree == Bracketing(("the", "dog", "barks"), (None, "NN", None), ((0, 1), (0, 2)))


def test_wrappers_go_only_from_the_outside_and_only_around_one_bracket():
    inner = read_bracketing(TAGGED)
    for tree in (f"( {TAGGED})", f"(TOP {TAGGED})", f"(ROOT (S1 {TAGGED}))"):
        assert read_bracketing(tree) == inner
    assert read_bracketing(f"(S {TAGGED})").spans == (*inner.spans, (0, 3))
    assert read_bracketing("(TOP (NN a) (NN b))").spans == ((0, 1),)
    assert read_bracketing("(S (TOP (NN a) (NN b)))").spans == ((0, 1), (0, 1))


def test_spans_are_put_in_order_and_neither_repeated_nor_of_one_word():
    words = ["a", "b", "c", "d"]
    spans = [(0, 2), (1, 1), (1, 2), (0, 2), (3, 3)]
    expected = Bracketing(tuple(words), (None,) * 4, ((1, 2), (0, 2), (0, 3)))
    assert read_bracketing({"words": words, "spans": spans}) == expected
    assert read_bracketing({"words": words, "spans": np.array([*spans, (0, 3)]), "tags": None}) == expected
    assert read_bracketing({"words": words, "spans": [], "tags": ["NN"] * 4}).tags == ("NN",) * 4
    assert read_bracketing({"words": ["a"], "spans": [(0, 0)]}).spans == ()


def test_words_and_spans_are_written_as_one_string():
    assert write_bracketing(["the", "dog", "barks"], [(0, 1)]) == "(X (X the dog) barks)"
    assert write_bracketing(["the", "dog"], [], tags=["DT", "NN"], label="NP") == "(NP (DT the) (NN dog))"
    assert write_bracketing(["the", "dog"], [(0, 0), (1, 1), (0, 1)]) == "(X the dog)"
    assert write_bracketing(["barks"], [(0, 0)]) == "(X barks)"
    assert write_bracketing(["barks"], [], tags=["VBZ"]) == "(VBZ barks)"


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["(NN a)", "(. .)", "b"]),
        lambda trees: st.lists(trees, min_size=1, max_size=3).map(lambda parts: f"(A {' '.join(parts)})"),
        max_leaves=9,
    )
)
def test_reading_what_was_written_gives_the_same_tree(text):
    tree = read_bracketing(f"(S {text} c)")
    assert read_bracketing(tree.write()) == tree
    spans = {span for span in tree.spans if span[0] < span[1]}
    without_chains = read_bracketing(write_bracketing(tree.words, spans))
    assert (without_chains.words, set(without_chains.spans)) == (tree.words, spans)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("", "it is an empty string; a tree needs at least one word"),
        ("barks", "it is not one bracketed tree"),
        ("(S (NN a)", r"it is not one bracketed tree .*write a label right after each opening bracket"),
        ("(S (NN a)) (S (NN b))", "it is not one bracketed tree"),
        ("(S (NN a) (NP))", "it has a bracket 'NP' without a word; remove empty constituents"),
        ("( the dog)", r"it has '\( the', where a space stands in place of a label"),
        ("(X ((NN a) b) c)", "it has a bracket without a label"),
        (Tree("S", ["a", 5]), "it has a leaf of type int"),
        (Tree("S", ["a", Tree("NP", [])]), "it has a bracket 'NP' without a word"),
        (None, 'it is of type NoneType; .*a mapping with "words" and "spans"'),
        ({"words": ["a"]}, r"it is a mapping with \['words'\]; \"words\" and \"spans\" are needed"),
        ({"words": ["a"], "spans": [], "scores": []}, r"it is a mapping with \['scores', 'spans', 'words'\]"),
        ({"words": "ab", "spans": []}, "it has 'ab' for words; a list of strings, at least one"),
        ({"words": [], "spans": []}, r"it has \[\] for words"),
        ({"words": ["a", 1], "spans": []}, r"it has \['a', 1\] for words"),
        ({"words": ["a", "b"], "spans": [], "tags": ["NN"]}, "it has 2 words and 1 tags"),
        ({"words": ["a", "b"], "spans": [(0, 2)]}, r"it has the span \(0, 2\), which does not fit its 2 words; .*inclusive"),
        ({"words": ["a", "b"], "spans": [(-1, 1)]}, r"it has the span \(-1, 1\), which does not fit"),
        ({"words": ["a", "b"], "spans": [(1, 0)]}, r"it has the span \(1, 0\), which does not fit"),
        ({"words": ["a", "b"], "spans": [(0, 1, "NP")]}, "it has the span .*two whole numbers"),
        ({"words": ["a", "b"], "spans": [(0.0, 1.0)]}, "it has the span .*two whole numbers"),
        ({"words": ["a", "b", "c"], "spans": [(1, 2), (0, 1)]}, r"it has the spans \(0, 1\) and \(1, 2\), which cross"),
        ({"words": list("abcde"), "spans": [(0, 1), (2, 4), (1, 3)]}, r"spans \(0, 1\) and \(1, 3\), which cross"),
    ],
)
def test_what_is_no_tree_is_named(tree, message):
    with pytest.raises(ValueError, match=message):
        read_bracketing(tree, name="it")


@pytest.mark.parametrize("token", ["New York", "(", "a)", ""])
def test_words_that_no_string_can_hold_are_refused(token):
    with pytest.raises(ValueError, match="cannot stand in a bracketed string"):
        write_bracketing(["a", token], [])
    with pytest.raises(ValueError, match="cannot stand in a bracketed string"):
        write_bracketing(["a", "b"], [], tags=["NN", token])
