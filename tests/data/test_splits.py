from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.data.splits import split_dataset, split_of


def test_shares_are_as_asked():
    counts = Counter(split_of(f"text {n}", validation_fraction=0.1, test_fraction=0.2) for n in range(20_000))
    # Four standard deviations of a binomial.
    assert counts["validation"] == pytest.approx(2_000, abs=4 * (20_000 * 0.1 * 0.9) ** 0.5)
    assert counts["test"] == pytest.approx(4_000, abs=4 * (20_000 * 0.2 * 0.8) ** 0.5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=5)), st.lists(st.text(max_size=5)))
def test_adding_texts_moves_no_other(texts, more):
    before = split_dataset(Dataset.from_dict({"text": texts}), texts, 0.3, 0.3)
    after = split_dataset(Dataset.from_dict({"text": more + texts}), more + texts, 0.3, 0.3)
    for split, rows in before.items():
        assert after[split]["text"][len(after[split]) - len(rows) :] == rows["text"][:]
    assert not set(after["train"]["text"]) & set(after["test"]["text"])


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5), (0.1, float("nan"))])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="below 1"):
        split_dataset(Dataset.from_dict({"text": ["a"]}), ["a"], *fractions)
