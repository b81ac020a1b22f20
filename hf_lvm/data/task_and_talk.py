"""The world of Task & Talk (Kottur et al. 2017): objects with attributes, and tasks that ask for two of them.

An object is one value of each attribute, and a task an ordered pair of attributes: what is to be said about the object is the
value of the first and then that of the second.

The published objects have 4 colours, 4 shapes and 4 styles, 64 in all, of which the authors drew 13 for testing, once. These
13 are listed here as they stand in their repository, github.com/batra-mlp-lab/lang-emerge, `data/toy64_split_0.8.json` of
commit f3c5b3a85949a86b9265099a6013aae76eb07060, with values and tasks in the order of that file.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

PUBLISHED_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "color": ("red", "green", "blue", "purple"),
    "shape": ("square", "triangle", "circle", "star"),
    "style": ("dotted", "solid", "filled", "dashed"),
}
PUBLISHED_TEST_OBJECTS = (
    ("red", "star", "dotted"),
    ("red", "triangle", "dotted"),
    ("purple", "square", "solid"),
    ("blue", "square", "solid"),
    ("blue", "square", "dotted"),
    ("green", "star", "dotted"),
    ("purple", "circle", "dotted"),
    ("blue", "triangle", "solid"),
    ("green", "circle", "solid"),
    ("purple", "circle", "solid"),
    ("green", "star", "solid"),
    ("purple", "circle", "dashed"),
    ("red", "square", "solid"),
)


@dataclass(frozen=True)
class ObjectSplit:
    """Objects to train on and objects that are held out, (N, A) each: a value of each attribute, counted from 0."""

    train: torch.Tensor
    test: torch.Tensor


def all_objects(num_values: Sequence[int]) -> torch.Tensor:
    """Every object, (N, A), the value of the last attribute varying fastest.

    Args:
        num_values: how many values each of the A attributes has.
    """
    return torch.tensor(list(itertools.product(*map(range, num_values))))


def all_tasks(num_attributes: int) -> torch.Tensor:
    """Every ordered pair of attributes, (T, 2), a pair before its reverse; a task's number is its place here."""
    pairs = itertools.combinations(range(num_attributes), 2)
    return torch.tensor([pair for first, second in pairs for pair in ((first, second), (second, first))])


def published_split() -> ObjectSplit:
    """The 51 objects to train on and the 13 held out of Kottur et al. (2017)."""
    values = list(PUBLISHED_ATTRIBUTES.values())
    held_out = [[names.index(name) for names, name in zip(values, words, strict=True)] for words in PUBLISHED_TEST_OBJECTS]
    return _split(all_objects([len(names) for names in values]), torch.tensor(held_out))


def split_objects(num_values: Sequence[int], num_test: int, seed: int = 0) -> ObjectSplit:
    """Hold out objects at random, so that every value of every attribute is left in training.

    Args:
        num_values: how many values each attribute has.
        num_test: objects to hold out.
        seed: of the draw; the same one gives the same split.

    Raises:
        ValueError: fewer than one object to hold out, or so many that values would be left out of training.
    """
    objects = all_objects(num_values)
    most = len(objects) - max(num_values)
    if not 1 <= num_test <= most:
        raise ValueError(
            f"num_test is {num_test}: of {len(objects)} objects hold out 1 to {most}, so that {max(num_values)} are left, "
            "the fewest that show every value."
        )
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(count, generator=generator) for count in num_values]
    kept = torch.stack([order[torch.arange(max(num_values)) % len(order)] for order in orders], dim=1)
    free = _without(objects, kept)
    return _split(objects, free[torch.randperm(len(free), generator=generator)[:num_test]])


def instances(objects: torch.Tensor, num_tasks: int) -> dict[str, torch.Tensor]:
    """Every object (N, A) under every task: `objects` (N * T, A) and `tasks` (N * T,), the task varying fastest."""
    return {"objects": objects.repeat_interleave(num_tasks, 0), "tasks": torch.arange(num_tasks).repeat(len(objects))}


def read_objects(texts: Sequence[str], attributes: Mapping[str, Sequence[str]] = PUBLISHED_ATTRIBUTES) -> torch.Tensor:
    """Objects (N, A) that are written as the names of their values, such as "red square solid".

    Raises:
        ValueError: a text has too few or too many names, or one that no value of its attribute has.
    """
    rows = []
    for text in texts:
        names = text.split()
        if len(names) != len(attributes):
            raise ValueError(f"{text!r} has {len(names)} names: an object is a {', a '.join(attributes)}.")
        for name, (attribute, values) in zip(names, attributes.items(), strict=True):
            if name not in values:
                raise ValueError(f"{text!r}: there is no {attribute} {name!r}; choose one of {', '.join(values)}.")
        rows.append([list(values).index(name) for name, values in zip(names, attributes.values(), strict=True)])
    return torch.tensor(rows)


def _split(objects: torch.Tensor, held_out: torch.Tensor) -> ObjectSplit:
    return ObjectSplit(_without(objects, held_out), held_out)


def _without(objects: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The objects that are none of the others."""
    return objects[~(objects.unsqueeze(1) == others).all(-1).any(1)]
