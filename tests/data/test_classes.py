"""Known classes: names from columns, unknown ones, and which are hidden."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_lvm.data import LabelledShareSampler, add_classes, class_names, hide_classes


def texts():
    train = Dataset.from_dict(
        {"text": list("abcdefgh"), "stars": [2, 10, 1, 2, 1, 10, -1, 1], "topic": ["x", "y", None, "x", "y", "", "x", "y"]}
    )
    return DatasetDict({"train": train, "test": train.select(range(3))})


def test_names_are_sorted_and_unknown_is_minus_one():
    names = class_names(texts()["train"], ["stars", "topic"])
    assert names == [["1", "2", "10"], ["x", "y"]]
    added = add_classes(texts(), ["stars", "topic"], names)
    assert added["test"]["classes"][:] == [[1, 0], [2, 1], [0, -1]]
    assert added["train"]["classes"][5:7] == [[2, -1], [-1, 0]]


def test_hidden_classes_are_balanced_and_nested():
    classes = [[value % 3] for value in range(30)] + [[-1]] * 5
    dataset = Dataset.from_dict({"text": ["a"] * 35, "classes": classes})
    kept = {}
    for count in (0, 3, 6, 7):
        hidden = np.array(hide_classes(dataset, count, seed=4)["classes"][:])[:, 0]
        kept[count] = set(np.flatnonzero(hidden >= 0))
        assert len(kept[count]) == count and all(hidden[row] == row % 3 for row in kept[count])
    assert kept[3] < kept[6] < kept[7]
    assert [sum(row % 3 == value for row in kept[6]) for value in range(3)] == [2, 2, 2]
    assert hide_classes(dataset, -1)["classes"][:] == hide_classes(dataset, None)["classes"][:] == classes


def test_every_batch_has_its_share_and_every_unlabelled_row_comes_once():
    lengths, labelled = np.arange(50) % 11 + 1, np.arange(50) % 10 == 0
    sampler = LabelledShareSampler(lengths, labelled, batch_size=8, labelled_per_batch=3, seed=1)
    order = list(sampler)
    assert len(order) == len(sampler) and order == list(sampler)
    others = [row for row in order if not labelled[row]]
    assert sorted(others) == [row for row in range(50) if not labelled[row]]
    counts = [sum(bool(labelled[row]) for row in order[first : first + 8]) for first in range(0, len(order), 8)]
    assert set(counts) == {3} and len({row for row in order if labelled[row]}) == 5
    sampler.set_epoch(1)
    assert list(sampler) != order


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: class_names(texts()["train"], ["colour"]), "no column 'colour'"),
        (lambda: class_names(Dataset.from_dict({"topic": ["x", "x"]}), ["topic"]), "at least 2"),
        (lambda: add_classes(texts(), ["topic"], [["x", "z"]]), "holds y, and the classes are x, z"),
        (lambda: LabelledShareSampler([1] * 4, [True] * 4, 2, 1), "two kinds of rows"),
        (lambda: LabelledShareSampler([1] * 4, [True, False] * 2, 2, 2), "at least 1 must be left"),
    ],
)
def test_refusals(build, said):
    with pytest.raises(ValueError, match=said):
        build()
