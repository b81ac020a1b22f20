"""The objects and tasks of Task & Talk, and what is held out."""

import pytest
import torch

from hf_lvm.data.task_and_talk import (
    PUBLISHED_ATTRIBUTES,
    PUBLISHED_TEST_OBJECTS,
    all_objects,
    all_tasks,
    instances,
    published_split,
    read_objects,
    split_objects,
)


def rows(objects: torch.Tensor) -> set[tuple[int, ...]]:
    return set(map(tuple, objects.tolist()))


def test_the_published_split_has_51_objects_and_13_and_every_value_in_both_halves_of_what_is_known():
    split = published_split()
    assert split.train.shape == (51, 3) and split.test.shape == (13, 3)
    assert not rows(split.train) & rows(split.test)
    assert rows(split.train) | rows(split.test) == rows(all_objects([4, 4, 4]))
    assert all(len(column.unique()) == 4 for column in split.train.unbind(1))
    assert rows(read_objects([" ".join(names) for names in PUBLISHED_TEST_OBJECTS])) == rows(split.test)
    # By hand: purple is the fourth colour, circle the third shape, dashed the fourth style.
    assert (3, 2, 3) in rows(split.test) and (3, 2, 2) in rows(split.train)


def test_tasks_are_the_ordered_pairs_in_the_published_order():
    assert all_tasks(3).tolist() == [[0, 1], [1, 0], [0, 2], [2, 0], [1, 2], [2, 1]]
    assert len(rows(all_tasks(5))) == 20 and all(first != second for first, second in all_tasks(5).tolist())


def test_instances_are_every_object_under_every_task():
    batch = instances(published_split().train, 6)
    assert batch["objects"].shape == (306, 3) and batch["tasks"][:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert len({(*row, task) for row, task in zip(batch["objects"].tolist(), batch["tasks"].tolist(), strict=True)}) == 306


@pytest.mark.parametrize(("num_values", "num_test"), [([4, 4, 4], 13), ([2, 5, 3], 25), ([2, 2], 2), ([3, 3, 3, 3], 40)])
def test_whatever_is_held_out_every_value_is_seen_in_training(num_values, num_test):
    drawn = [split_objects(num_values, num_test, seed) for seed in range(20)]
    for split in drawn:
        assert len(split.test) == num_test and not rows(split.train) & rows(split.test)
        assert len(split.train) + num_test == len(all_objects(num_values))
        assert [len(column.unique()) for column in split.train.unbind(1)] == num_values
    assert len({tuple(sorted(rows(split.test))) for split in drawn}) > 1
    again = split_objects(num_values, num_test, seed=0)
    assert torch.equal(again.test, drawn[0].test) and torch.equal(again.train, drawn[0].train)


@pytest.mark.parametrize("num_test", [0, 61])
def test_too_few_or_too_many_held_out_are_refused(num_test):
    with pytest.raises(ValueError, match="hold out 1 to 60"):
        split_objects([4, 4, 4], num_test)


@pytest.mark.parametrize(("text", "said"), [("red square", "has 2 names"), ("red solid square", "no shape 'solid'")])
def test_objects_that_are_none_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        read_objects([text])
    assert read_objects(["green circle dashed"]).tolist() == [[1, 2, 3]] and len(PUBLISHED_ATTRIBUTES) == 3
