"""Which training rows show their labels."""

import random

import pytest

from hf_lvm.data import choose_labelled

KNOWN = list(range(1, 40, 2))


def test_all_none_the_first_or_a_draw():
    assert choose_labelled(KNOWN, -1) == choose_labelled(KNOWN, None, label_seed=3) == KNOWN
    assert choose_labelled(KNOWN, 0) == choose_labelled(KNOWN, 0, label_seed=3) == []
    assert choose_labelled(KNOWN, 5) == [1, 3, 5, 7, 9]
    by_hand = list(KNOWN)
    random.Random(3).shuffle(by_hand)
    assert choose_labelled(KNOWN, 5, label_seed=3) == sorted(by_hand[:5])
    assert list(range(1, 40, 2)) == KNOWN


def test_draws_are_nested_and_differ_by_seed():
    assert set(choose_labelled(KNOWN, 5, label_seed=3)) < set(choose_labelled(KNOWN, 9, label_seed=3))
    assert len({tuple(choose_labelled(KNOWN, 5, label_seed=seed)) for seed in range(6)}) > 3


@pytest.mark.parametrize("count", [21, -2])
def test_a_number_that_cannot_be_is_an_error_that_says_how_many_there_are(count):
    with pytest.raises(ValueError, match=f"num_labelled is {count}, and 20 training rows .* give 0 to 20, or -1 for all"):
        choose_labelled(KNOWN, count, label_seed=0)
    with pytest.raises(ValueError, match="num_bracketed is"):
        choose_labelled(KNOWN, count, name="num_bracketed")
