"""Trees in and out: what is read from strings, nltk trees and spans, and that writing loses nothing of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk import Tree

from hf_lvm.grammars.brackets import Bracketing, binarized, read_tree, read_trees

DOG = ["the", "dog", "barks"]
TAGGED = "(S (NP (DT the) (NN dog)) (VP (VP (VBZ barks))) (. .))"


@st.composite
def partial_trees(draw):
    count = draw(st.integers(1, 9))
    spans, agenda = [], [(0, count - 1)]
    while agenda:
        first, last = agenda.pop()
        if first < last:
            split = draw(st.integers(first, last - 1))
            agenda += [(first, split), (split + 1, last)]
            if draw(st.booleans()):
                spans.append((first, last))
    return {"words": [f"w{place}" for place in range(count)], "spans": spans}


@pytest.mark.parametrize(
    ("tree", "spans", "labels", "tags"),
    [
        ("(S (NP the dog) (VP barks))", [(0, 1), (0, 2)], ["NP", "S"], [None, None, "VP"]),
        ("( (S (NP (DT the) (NN dog)) (VBZ barks)) )", [(0, 1), (0, 2)], ["NP", "S"], ["DT", "NN", "VBZ"]),
        ("(TOP (S (VP (VP the (NP dog barks)))))", [(1, 2), (0, 2)], ["NP", "S"], [None] * 3),
        ("((the dog) barks)", [(0, 1), (0, 2)], [None, None], [None] * 3),
        ("( ( the dog )\n barks )", [(0, 1), (0, 2)], [None, None], [None] * 3),
        ("(S the dog barks)", [(0, 2)], ["S"], [None] * 3),
        (Tree("S", ["the", Tree("VP", ["dog", "barks"])]), [(1, 2), (0, 2)], ["VP", "S"], [None] * 3),
        ({"words": DOG, "spans": [(0, 1)]}, [(0, 1)], [None], [None] * 3),
        ({"words": DOG, "spans": [[0, 2], [1, 2], [1, 1]], "labels": list("SVX")}, [(1, 2), (0, 2)], ["V", "S"], [None] * 3),
        ({"words": DOG, "spans": np.array([(0, 2), (0, 1), (0, 2)]), "tags": None}, [(0, 1), (0, 2)], [None] * 2, [None] * 3),
        ({"words": DOG, "spans": [], "tags": ["DT", "NN", "VBZ"]}, [], [], ["DT", "NN", "VBZ"]),
    ],
)
def test_trees_are_read_in_every_form(tree, spans, labels, tags):
    assert read_tree(tree) == Bracketing(tuple(DOG), tuple(spans), tuple(labels), tuple(tags))


def test_unary_chains_and_brackets_of_one_word_are_kept_if_asked_for():
    tags = ("DT", "NN", "VBZ", ".")
    expected = Bracketing((*DOG, "."), ((0, 1), (2, 2), (2, 2), (0, 3)), ("NP", "VP", "VP", "S"), tags)
    assert read_tree(TAGGED, unary_chains=True) == read_tree(Tree.fromstring(TAGGED), unary_chains=True) == expected
    assert read_tree(TAGGED) == Bracketing((*DOG, "."), ((0, 1), (0, 3)), ("NP", "S"), tags)
    assert expected.parts == [[0, 1], [2], [5], [4, 6, 3]]
    assert not expected.is_binary_tree and read_tree("(S (VP (VP go) home))", unary_chains=True).is_binary_tree
    assert binarized(expected) == binarized(read_tree(TAGGED))


@pytest.mark.parametrize("unary_chains", [False, True])
def test_wrappers_go_only_from_the_outside_and_only_around_one_bracket(unary_chains):
    inner = read_tree(TAGGED, unary_chains=unary_chains)
    for tree in (f"( {TAGGED})", f"(TOP {TAGGED})", f"(ROOT (S1 {TAGGED}))", Tree("", [Tree.fromstring(TAGGED)])):
        assert read_tree(tree, unary_chains=unary_chains) == inner
    assert read_tree("(TOP (NN a) (NN b))", unary_chains=unary_chains).labels == ("TOP",)
    assert read_tree(f"(S {TAGGED})", unary_chains=True).spans == (*read_tree(TAGGED, unary_chains=True).spans, (0, 3))
    assert read_tree("(S (TOP (NN a) (NN b)))", unary_chains=True).labels == ("TOP", "S")


def test_what_is_a_label_is_told_by_the_sentence_or_by_the_other_rows():
    right = "(the (dog barks))"
    assert read_tree(right, words=["The", "dog", "barks"]) == Bracketing(
        ("The", "dog", "barks"), ((1, 2), (0, 2)), (None, None), (None,) * 3
    )
    assert read_tree(right, labelled=False).words == tuple(DOG)
    assert read_tree(right).words == ("barks",)
    assert [tree.words for tree in read_trees([right, None, "((the dog) barks)"])[::2]] == [tuple(DOG)] * 2
    assert read_trees([right, "(S (NP the dog) barks)"], [DOG, DOG])[1].labels == ("NP", "S")
    assert read_tree("(hello)") == Bracketing(("hello",), (), (), (None,))


CROSSING = {"words": list("abcde"), "spans": [(0, 1), (2, 4), (1, 3)]}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("", r"tree 1 is empty: a tree has at least one word"),
        ("(S (NP) barks)", r"tree 1 has a bracket 'NP' without a word: remove empty constituents"),
        (Tree("S", ["a", Tree("NP", [])]), r"tree 1 has a bracket 'NP' without a word"),
        ("()", r"tree 1 has a bracket '' without a word"),
        ("(S (NP the dog) barks", r"tree 1 is not one bracketed sentence \(.*end-of-string"),
        ("(S the dog) (S barks)", r"tree 1 is not one bracketed sentence"),
        ("the dog barks", r"tree 1 is not one bracketed sentence .*or \(\(the dog\) barks\) without labels"),
        ("( the dog)", r"tree 1 has '\( the', where a blank stands in place of a label"),
        (Tree("S", ["the", " "]), r"tree 1 has the leaf ' ', which is no word"),
        (Tree("S", ["the", 3]), r"tree 1 has the leaf 3"),
        (3, r"tree 1 is int: a bracketed string"),
        ({"words": DOG}, r"tree 1 is a mapping with words: it needs words and spans"),
        ({"words": DOG, "spans": [], "scores": []}, r"tree 1 is a mapping with words, spans, scores: it needs words and"),
        ({"words": "ab", "spans": []}, r"tree 1 has 'ab' for words: a list of at least one"),
        ({"words": [], "spans": []}, r"tree 1 has \[\] for words"),
        ({"words": ["a", 1], "spans": []}, r"tree 1 has \['a', 1\] for words"),
        ({"words": DOG, "spans": [(0, 1), (1, 2)]}, r"tree 1 has the spans \(0, 1\) and \(1, 2\), which cross"),
        (CROSSING, r"tree 1 has the spans \(0, 1\) and \(1, 3\), which cross"),
        ({"words": DOG, "spans": [(1, 3)]}, r"tree 1 has the span \(1, 3\), which does not fit its 3 words.*inclusive"),
        ({"words": DOG, "spans": [(2, 1)]}, r"tree 1 has the span \(2, 1\), which does not fit"),
        ({"words": DOG, "spans": [(-1, 1)]}, r"tree 1 has the span \(-1, 1\), which does not fit"),
        ({"words": DOG, "spans": [0]}, r"tree 1 has the span 0: first and last word"),
        ({"words": DOG, "spans": [(0, 1, "NP")]}, r"tree 1 has the span .*two whole numbers"),
        ({"words": DOG, "spans": [(0.0, 1.0)]}, r"tree 1 has the span .*two whole numbers"),
        ({"words": DOG, "spans": [], "tags": ["DT"]}, r"tree 1 has 3 words and 1 tags"),
        ({"words": DOG, "spans": [(0, 1)], "labels": "N"}, r"tree 1 has 1 spans and 1 labels: a list"),
    ],
)
def test_what_is_no_tree_is_named_with_its_row(tree, message):
    with pytest.raises(ValueError, match=message):
        read_trees(["(S a b)", tree])


def test_strings_with_labels_have_one_in_every_bracket_but_a_wrapper():
    with pytest.raises(ValueError, match=r"it has a bracket without a label: write a label right after each opening bracket"):
        read_tree("(X ((NN a) b) c)", labelled=True, name="it")
    with pytest.raises(ValueError, match=r"it is not one bracketed sentence .*write a label right after each opening bracket"):
        read_tree("(S (NN a)", labelled=True, name="it")
    assert read_tree("( (X the dog))", labelled=True).labels == ("X",)
    # An nltk tree may do without, as `Bracketing` does.
    assert read_tree(Tree("", [Tree("", ["the", "dog"]), "barks"]), labelled=True).labels == (None, None)


def test_words_must_be_those_of_the_sentence():
    with pytest.raises(ValueError, match=r"tree 1 does not fit its sentence: it has 'cat' where the sentence has 'dog'"):
        read_trees(["(S a b)", "(S the cat barks)"], [["A", "b"], DOG])
    with pytest.raises(ValueError, match=r"tree does not fit its sentence: it has 'cat' where the sentence has 'dog'"):
        read_tree("((the cat) barks)", DOG)
    with pytest.raises(ValueError, match=r"tree 0 does not fit its sentence: it has 2 words, and the sentence has 3"):
        read_trees(["(S the dog)"], [DOG])
    with pytest.raises(ValueError, match="2 trees and 1 sentences"):
        read_trees(["(S a b)", "(S a b)"], [DOG])


@pytest.mark.parametrize(
    ("tree", "written"),
    [
        (Bracketing(tuple(DOG), ((0, 1),)), "(X (X the dog) barks)"),
        (Bracketing(("the", "dog"), ((0, 1),), ("NP",), ("DT", None)), "(NP (DT the) dog)"),
        (Bracketing(("barks",)), "(X barks)"),
        (Bracketing(("barks",), tags=("VBZ",)), "(VBZ barks)"),
        (Bracketing(("barks",), ((0, 0),), ("VP",), ("VBZ",)), "(VP (VBZ barks))"),
    ],
)
def test_words_and_spans_are_written_as_one_string(tree, written):
    assert tree.write() == written


@settings(max_examples=50, deadline=None)
@given(partial_trees())
def test_writing_and_reading_give_the_same(tree):
    read = read_tree(tree)
    again = read_tree(read.write())
    whole = {(0, len(read.words) - 1)} if len(read.words) > 1 else set()
    assert again.words == read.words
    assert set(again.spans) == set(read.spans) | whole
    assert read_tree(again.write(), read.words).spans == again.spans


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["(NN a)", "(. .)", "b"]),
        lambda trees: st.lists(trees, min_size=1, max_size=3).map(lambda parts: f"(A {' '.join(parts)})"),
        max_leaves=9,
    )
)
def test_writing_keeps_unary_chains(text):
    tree = read_tree(f"(S {text} c)", unary_chains=True)
    assert read_tree(tree.write(), unary_chains=True) == tree
    assert set(read_tree(tree.write()).spans) == {span for span in tree.spans if span[0] < span[1]}


@settings(max_examples=50, deadline=None)
@given(partial_trees())
def test_binarized_trees_are_whole_and_keep_every_constituent(tree):
    read = read_tree(tree)
    made = binarized(read)
    assert made.is_binary_tree
    assert set(read.spans) <= set(made.spans)
    assert binarized(made) == made
    # Nothing crosses, and children stand first.
    assert read_tree({"words": made.words, "spans": made.spans}).spans == made.spans
    assert all(len(parts) == 2 for parts in made.parts)


def test_constituents_become_right_branching():
    made = binarized(read_tree("(S a (NP b c d) e f)"))
    assert made.write() == "(S a (X (NP b (X c d)) (X e f)))"
    assert binarized(Bracketing(("a", "b", "c"))).spans == ((1, 2), (0, 2))
    assert binarized(Bracketing(("a",))).spans == ()


@pytest.mark.parametrize("token", ["New York", "(", "a)", ""])
def test_what_cannot_stand_in_a_string(token):
    for tree in (
        Bracketing(("a", token)),
        Bracketing(("a", "b"), tags=("NN", token)),
        Bracketing(("a",), ((0, 0),), (token,)),
    ):
        with pytest.raises(ValueError, match=r"tree holds .*, which cannot stand in a bracketed string.*-LRB-"):
            tree.write()
