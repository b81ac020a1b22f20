import pytest
import torch

from hf_lvm.data import binarized, mask_to_spans, mask_to_tree, read_tree, spans_to_mask
from tests.distributions.binary_tree.enumeration import bracketings


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_masks_and_trees_are_inverse(count):
    words = [f"w{place}" for place in range(count)]
    trees = [{(first, last) for first, last in spans if first < last} for spans in bracketings(0, count - 1)]
    for spans in trees:
        mask = spans_to_mask(spans, count)
        assert mask.dtype == torch.bool and mask.sum() == 2 * count - 1
        assert set(mask_to_spans(mask)) == spans
        tree = mask_to_tree(mask, words)
        assert tree.leaves() == words
        assert set(read_tree(tree).spans) == spans
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
