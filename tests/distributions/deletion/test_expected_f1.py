"""The compression with the largest expected F1: against all masks there are."""

from itertools import product

import pytest
import torch

from hf_lvm.distributions import CanonicalDeletion
from hf_lvm.distributions.deletion import expected_f1_masks

LENGTH = 5


def score(marginals: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return 2 * marginals[mask].sum() / (mask.sum() + marginals.sum())


@pytest.mark.parametrize("seed", range(6))
def test_no_other_mask_has_a_larger_one(seed):
    marginals = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lengths = torch.tensor([LENGTH, 3, 1])
    found = expected_f1_masks(marginals, lengths)
    counted = expected_f1_masks(marginals, lengths, counts=torch.tensor([2, 3, 1]))
    assert counted.sum(1).tolist() == [2, 3, 1]
    for row, length in enumerate(lengths.tolist()):
        own = marginals[row, :length]
        assert not found[row, length:].any()
        masks = [torch.tensor(mask) for mask in product([False, True], repeat=length) if any(mask)]
        best = max(score(own, mask) for mask in masks)
        torch.testing.assert_close(score(own, found[row, :length]), best)
        alike = [score(own, mask) for mask in masks if mask.sum() == counted[row].sum()]
        torch.testing.assert_close(score(own, counted[row, :length]), max(alike))


def test_it_keeps_what_many_compressions_share_though_the_most_probable_one_does_not():
    """[a b] has .4 and [a c d], [a c e], [a d e] .2 each: c is not in the mode, and worth its place."""
    kept = {(0, 1): 0.4, (0, 2, 3): 0.2, (0, 2, 4): 0.2, (0, 3, 4): 0.2}
    marginals = torch.zeros(1, LENGTH)
    for words, probability in kept.items():
        marginals[0, list(words)] += probability
    found = expected_f1_masks(marginals, torch.tensor([LENGTH]))
    assert found.sum() == LENGTH
    assert expected_f1_masks(torch.zeros(1, 3), torch.tensor([3]), fewest=0).sum() == 0
    assert expected_f1_masks(torch.zeros(1, 3), torch.tensor([3])).sum() == 1


def test_of_a_distribution_that_knows_what_it_keeps_it_is_the_mode():
    scores = 40 * torch.randn(4, LENGTH + 1, LENGTH + 1, generator=torch.Generator().manual_seed(0))
    words = torch.arange(LENGTH).expand(4, -1)
    q = CanonicalDeletion(scores, words)
    assert torch.equal(expected_f1_masks(q.marginals, torch.full((4,), LENGTH)), q.mode)
