import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk import Tree

from hf_lvm.data import Bracketing, binarized, mask_to_spans, mask_to_tree, read_tree, read_trees, spans_to_mask

DOG = ["the", "dog", "barks"]


def all_trees(first, last):
    """The spans of every binary tree over words first..last."""
    if first == last:
        return [[]]
    return [
        [*left, *right, (first, last)]
        for split in range(first, last)
        for left, right in itertools.product(all_trees(first, split), all_trees(split + 1, last))
    ]


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
        ("(TOP (S (VP (VP the (NP dog barks)))))", [(1, 2), (0, 2)], ["NP", "TOP"], [None] * 3),
        ("((the dog) barks)", [(0, 1), (0, 2)], [None, None], [None] * 3),
        ("( ( the dog )\n barks )", [(0, 1), (0, 2)], [None, None], [None] * 3),
        ("(S the dog barks)", [(0, 2)], ["S"], [None] * 3),
        (Tree("S", ["the", Tree("VP", ["dog", "barks"])]), [(1, 2), (0, 2)], ["VP", "S"], [None] * 3),
        ({"words": DOG, "spans": [(0, 1)]}, [(0, 1)], [None], [None] * 3),
        ({"words": DOG, "spans": [[0, 2], [1, 2], [1, 1]], "labels": list("SVX")}, [(1, 2), (0, 2)], ["V", "S"], [None] * 3),
    ],
)
def test_trees_are_read_in_every_form(tree, spans, labels, tags):
    assert read_tree(tree) == Bracketing(tuple(DOG), tuple(spans), tuple(labels), tuple(tags))


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


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("", r"tree 1 is empty: a tree has at least one word"),
        ("(S (NP) barks)", r"tree 1 has a bracket 'NP' without a word"),
        ("()", r"tree 1 has a bracket '' without a word"),
        ("(S (NP the dog) barks", r"tree 1 is not one bracketed sentence \(.*end-of-string"),
        ("(S the dog) (S barks)", r"tree 1 is not one bracketed sentence"),
        ("the dog barks", r"tree 1 is not one bracketed sentence"),
        (Tree("S", ["the", " "]), r"tree 1 has the leaf ' ', which is no word"),
        (Tree("S", ["the", 3]), r"tree 1 has the leaf 3"),
        (3, r"tree 1 is int: a bracketed string"),
        ({"words": DOG}, r"tree 1 is a mapping with words: it needs words and spans"),
        ({"words": [], "spans": []}, r"tree 1 has \[\] for words"),
        ({"words": DOG, "spans": [(0, 1), (1, 2)]}, r"tree 1 has the spans \(0, 1\) and \(1, 2\), which cross"),
        ({"words": DOG, "spans": [(1, 3)]}, r"tree 1 has the span \(1, 3\), which does not fit its 3 words"),
        ({"words": DOG, "spans": [(2, 1)]}, r"tree 1 has the span \(2, 1\), which does not fit"),
        ({"words": DOG, "spans": [0]}, r"tree 1 has the span 0: first and last word"),
        ({"words": DOG, "spans": [], "tags": ["DT"]}, r"tree 1 has 3 words and 1 tags"),
    ],
)
def test_what_is_no_tree_is_named_with_its_row(tree, message):
    with pytest.raises(ValueError, match=message):
        read_trees(["(S a b)", tree])


def test_words_must_be_those_of_the_sentence():
    with pytest.raises(ValueError, match=r"tree 1 does not fit its sentence: it has 'cat' where the sentence has 'dog'"):
        read_trees(["(S a b)", "(S the cat barks)"], [["A", "b"], DOG])
    with pytest.raises(ValueError, match=r"tree 0 does not fit its sentence: it has 2 words, and the sentence has 3"):
        read_trees(["(S the dog)"], [DOG])
    with pytest.raises(ValueError, match="2 trees and 1 sentences"):
        read_trees(["(S a b)", "(S a b)"], [DOG])


@settings(max_examples=50, deadline=None)
@given(partial_trees())
def test_writing_and_reading_give_the_same(tree):
    read = read_tree(tree)
    again = read_tree(read.write())
    whole = {(0, len(read.words) - 1)} if len(read.words) > 1 else set()
    assert again.words == read.words
    assert set(again.spans) == set(read.spans) | whole
    assert read_tree(again.write(), read.words).spans == again.spans


@settings(max_examples=50, deadline=None)
@given(partial_trees())
def test_binarized_trees_are_whole_and_keep_every_constituent(tree):
    read = read_tree(tree)
    made = binarized(read)
    assert made.is_binary_tree
    assert set(read.spans) <= set(made.spans)
    assert binarized(made) == made
    # Read back: each span has two parts, and so nothing crosses.
    assert read_tree(mask_to_tree(spans_to_mask(made.spans, len(made.words)), made.words)).spans == made.spans


def test_constituents_become_right_branching():
    made = binarized(read_tree("(S a (NP b c d) e f)"))
    assert made.write() == "(S a (X (NP b (X c d)) (X e f)))"
    assert binarized(Bracketing(("a", "b", "c"))).spans == ((1, 2), (0, 2))
    assert binarized(Bracketing(("a",))).spans == ()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_masks_and_trees_are_inverse(count):
    words = [f"w{place}" for place in range(count)]
    trees = all_trees(0, count - 1)
    for spans in trees:
        mask = spans_to_mask(spans, count)
        assert mask.dtype == torch.bool and mask.sum() == 2 * count - 1
        assert set(mask_to_spans(mask)) == set(spans)
        tree = mask_to_tree(mask, words)
        assert tree.leaves() == words
        assert set(read_tree(tree).spans) == set(spans)
        padded = torch.ones(count + 2, count + 2, dtype=torch.bool)  # past the words nothing counts
        padded[:count, :count] = mask
        assert mask_to_tree(padded, words) == tree
    assert len(trees) == [1, 1, 2, 5, 14][count - 1]
    assert spans_to_mask([], 3, whole_tree=False).sum() == 0


@pytest.mark.parametrize("spans", [[(0, last) for last in range(1, 1000)], [(first, 999) for first in range(999)]])
def test_deep_trees(spans):
    words = [f"w{place}" for place in range(1000)]
    tree = mask_to_tree(spans_to_mask(spans, 1000), words)
    read = read_tree(tree)
    assert read.words == tuple(words) and set(read.spans) == set(spans)
    assert read.write().count("(") == 999
    assert binarized(read).spans == read.spans


@pytest.mark.parametrize(
    ("spans", "words", "message"),
    [
        ([(0, 1)], ["a", "b", "c"], r"no binary tree over its 3 words: it has 1 spans, not 2"),
        ([(0, 1), (1, 2), (0, 2)], ["a", "b", "c"], r"the span \(1, 2\) has not two parts"),
        ([(0, 2)], ["a", "b", "c"], r"the span \(0, 2\) has not two parts"),
        ([], [], "has no word"),
        ([], ["a"] * 4, r"shape \(3, 3\), which has no room for 4 words"),
    ],
)
def test_masks_that_are_no_trees(spans, words, message):
    with pytest.raises(ValueError, match=message):
        mask_to_tree(spans_to_mask(spans, 3), words)


def test_what_cannot_stand_in_a_string():
    with pytest.raises(ValueError, match=r"tree holds '\(', which cannot stand in a bracketed string.*-LRB-"):
        Bracketing(("(", "a")).write()
