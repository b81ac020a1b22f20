"""Required and forbidden spans against all trees written down, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.distributions.binary_tree import BinaryTreeCRF
from hf_lvm.distributions.binary_tree.constraints import are_trees, crossing
from tests.distributions.binary_tree.enumeration import all_masks, all_trees, random_trees, row_lengths, tree_scores
from tests.tiny_parts import row_generators

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@settings(max_examples=80, deadline=None)
@given(
    shape=st.one_of(st.tuples(st.integers(1, 6), st.none()), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    share_required=st.sampled_from([0.0, 0.3, 0.7]),
    share_forbidden=st.sampled_from([0.0, 0.15]),
    seed=st.integers(0, 10_000),
)
def test_conditions(shape, share_required, share_forbidden, seed):
    """Log Z, marginals and the best tree are those of the trees that meet the conditions, none included."""
    trees = random_trees(3, *shape, ragged=True, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    chances = [torch.rand(trees.scores.shape, generator=generator) for _ in range(2)]
    # Some of the spans of one tree, so that they do not cross; of labelled ones also another label that would do.
    required = trees.sample((), generator) & (chances[0] < share_required)
    if shape[1] is not None:
        required = required | (required.any(-1, keepdim=True) & (chances[0] < 0.3))
    forbidden = chances[1] < share_forbidden
    # What lies below the diagonal or past a length is ignored.
    outside = ~torch.stack([all_trees(trees, row).any(0) for row in range(3)])
    conditioned = trees.constrained(required | outside, forbidden | outside)
    for row in range(3):
        every = all_trees(trees, row)
        needed = required[row] if shape[1] is None else required[row].any(-1)
        met = required[row] & every if shape[1] is None else (required[row] & every).any(-1)
        fits = (met == needed).flatten(1).all(1) & ~(forbidden[row] & every).flatten(1).any(1)
        scores = tree_scores(trees, row).masked_fill(~fits, -torch.inf)
        torch.testing.assert_close(conditioned.log_partition[row], scores.logsumexp(0), **EXACT)
        marginals = torch.einsum("t,t...->...", scores.softmax(0).nan_to_num(), every.double())
        torch.testing.assert_close(conditioned.marginals[row], marginals, **EXACT)
        if fits.any():
            assert torch.equal(conditioned.argmax[row], every[scores.argmax()])


def test_what_crosses_a_span():
    spans = all_masks(6, 6).any(0).nonzero().tolist()
    for start, end in spans:
        mask = torch.zeros(6, 6, dtype=torch.bool)
        mask[start, end] = True
        for a, b in spans:
            assert crossing(mask)[a, b] == (start < a <= end < b or a < start <= b < end)


def test_what_is_a_tree():
    """Of all sets of spans over three words, with and without padding."""
    cells = torch.triu(torch.ones(3, 3, dtype=torch.bool))
    masks = torch.zeros(2**6, 4, 4, dtype=torch.bool)
    masks[:, :3, :3][:, cells] = torch.cartesian_prod(*[torch.tensor([False, True])] * 6)
    every = all_masks(3, 4)
    wanted = (masks.unsqueeze(1) == every).flatten(2).all(-1).any(-1)
    assert wanted.sum() == 2
    assert torch.equal(are_trees(masks.unsqueeze(1), torch.tensor([3])).squeeze(1), wanted)
    assert torch.equal(are_trees(masks[:, None, :3, :3], None).squeeze(1), wanted)


SCORES = torch.zeros(2, 4, 4)
SOME_NAN = SCORES.clone()
SOME_NAN[1, 2, 3] = torch.nan
NO_TREE = SCORES.clone()
NO_TREE[1, 0, 3] = -torch.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4, 4),), r"\(B, n, n\) are needed"),
        ((torch.zeros(2, 4, 3),), r"Got scores \(2, 4, 3\)"),
        ((torch.zeros(2, 4, 3, 3),), r"Got scores \(2, 4, 3, 3\)"),
        ((torch.zeros(2, 4, 4, 3, 3),), r"\(B, n, n, L\) for spans with labels"),
        ((torch.zeros(2, 0, 0),), "none of these may be 0"),
        ((torch.zeros(2, 4, 4, 0),), "none of these may be 0"),
        ((torch.zeros(2, 4, 4, dtype=torch.long),), "floating point is needed"),
        ((SCORES, torch.tensor([4, 5])), r"length\(s\) \[5\] of row\(s\) \[1\] are not from 1 to 4"),
        ((SCORES, torch.tensor([0, 9])), r"length\(s\) \[0, 9\] of row\(s\) \[0, 1\]"),
        ((SCORES, torch.tensor([4])), r"one integer a row is needed, \(2,\)"),
        ((SCORES, torch.tensor([4.0, 4.0])), "one integer a row is needed"),
        ((SOME_NAN, None, True), r"nan or \+inf in row\(s\) \[1\], first for the span 2..3 of row 1"),
        ((SOME_NAN.nan_to_num(torch.inf), None, True), r"nan or \+inf in row\(s\) \[1\]"),
        ((SOME_NAN.unsqueeze(-1).expand(-1, -1, -1, 2), None, True), r"in row\(s\) \[1\], first for the span 2..3"),
        ((NO_TREE, None, True), r"No tree is possible in row\(s\) \[1\]"),
        ((NO_TREE.unsqueeze(-1).expand(-1, -1, -1, 2), None, True), r"No tree is possible in row\(s\) \[1\]"),
    ],
)
def test_bad_scores_and_lengths(arguments, message):
    with pytest.raises(ValueError, match=message):
        BinaryTreeCRF(*arguments)


def test_values_are_not_looked_at_without_being_asked_for():
    assert BinaryTreeCRF(SOME_NAN).log_partition.isnan().tolist() == [False, True]
    assert (BinaryTreeCRF(NO_TREE).log_partition == -torch.inf).tolist() == [False, True]
    trees = BinaryTreeCRF(SCORES)
    assert trees.log_prob(torch.ones(2, 4, 4, dtype=torch.bool)).isfinite().all()


@pytest.mark.parametrize("labels", [None, 2])
def test_bad_values(labels):
    trees = BinaryTreeCRF(random_trees(2, 4, labels).scores.detach(), torch.tensor([4, 3]), validate_args=True)
    tree = trees.argmax
    assert trees.log_prob(tree).isfinite().all() and trees.log_prob(tree.expand(3, *tree.shape)).shape == (3, 2)
    unfinished, crowded = tree.clone(), tree.clone()
    unfinished[1, 0, 2] = False
    crowded[1, :3, :3] = True
    for value in (unfinished, crowded, tree.flip(0)):
        with pytest.raises(ValueError, match=r"row\(s\) \[(0, )?1\] is no binary tree"):
            trees.log_prob(value)
    for value in (tree.double(), tree[:, :3, :3], tree[0].expand(3, *tree.shape[1:]), tree[0, 0]):
        with pytest.raises(ValueError, match="A value has shape"):
            trees.log_prob(value)
    if labels is not None:
        twice = tree | tree.any(-1, keepdim=True)
        with pytest.raises(ValueError, match="one label for each"):
            trees.log_prob(twice)
        with pytest.raises(ValueError, match=r"\[row, i, j, label\]"):
            trees.log_prob(tree.any(-1))


def test_bad_conditions():
    trees = BinaryTreeCRF(SCORES, validate_args=True)
    required = torch.zeros(2, 4, 4, dtype=torch.bool)
    required[1, 0, 1] = required[1, 1, 2] = True
    with pytest.raises(ValueError, match=r"Required spans of row\(s\) \[1\] cross"):
        trees.constrained(required)
    with pytest.raises(ValueError, match=r"Required spans of row\(s\) \[1\] cross"):
        BinaryTreeCRF(SCORES.unsqueeze(-1).expand(2, 4, 4, 2)).constrained(required.unsqueeze(-1).expand(2, 4, 4, 2))
    required[1, 0, 1] = False
    with pytest.raises(ValueError, match=r"No tree is possible in row\(s\) \[1\].*Forbid or require fewer"):
        trees.constrained(required, required)
    with pytest.raises(ValueError, match="forbidden has shape"):
        trees.constrained(forbidden=required[:, :3])
    with pytest.raises(ValueError, match=r"required has shape .*float32"):
        trees.constrained(required=SCORES)
    # One mask for all rows.
    torch.testing.assert_close(trees.constrained(required[1]).log_partition.exp(), torch.full((2,), 2.0))


def test_bad_counts_temperatures_and_partners():
    trees = BinaryTreeCRF(SCORES, torch.tensor([4, 2]))
    for call in (trees.k_best, trees.sample_without_replacement):
        with pytest.raises(ValueError, match="k=0"):
            call(0)
    for temperature in (0.0, -1.0, torch.nan):
        with pytest.raises(ValueError, match="must be above 0"):
            trees.relaxed_sample(temperature=temperature)
    with pytest.raises(ValueError, match="3 generators for a batch of 2"):
        trees.sample((1,), row_generators(3))
    with pytest.raises(ValueError, match="over the same sentences"):
        trees.cross_entropy(BinaryTreeCRF(torch.zeros(2, 5, 5)))
    with pytest.raises(ValueError, match=r"row\(s\) \[1\] differ in length"):
        trees.cross_entropy(BinaryTreeCRF(SCORES))
    assert row_lengths(trees) == [4, 2]
