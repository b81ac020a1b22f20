"""Games of a target among distractors: drawn before training, or from whatever objects share a batch; and their batches.

A row of a data set is a number of an object, `{"objects": 7}`, whose distractors are the others of its batch, or a game that
is drawn already, `{"candidates": [3, 7, 5], "labels": 1}`. What the objects themselves are only the collator knows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_lvm.data.processor import pad_rows


def games_in_batch(objects: Sequence[int]) -> Dataset:
    """A game about each of some objects, against others of its batch: the column `objects`, these numbers."""
    return Dataset.from_dict({"objects": list(objects)})


def draw_games(
    objects: torch.Tensor | Sequence[Sequence[int]],
    num_distractors: int,
    *,
    seed: int = 0,
    among: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
) -> Dataset:
    """A game about each object against others: the columns `candidates`, numbers of objects, and `labels`, which is meant.

    Distractors differ from the target and from each other, and the target may stand anywhere among them.

    Args:
        objects: N objects, (N, ...), or N lists of token ids.
        num_distractors: of each game.
        seed: of the draw; the game of a target does not depend on which others there are games about.
        among: numbers of the objects that stand in games, such as those of one split; by default all.
        targets: numbers of those that there is a game about; by default all that stand in games.

    Raises:
        ValueError: fewer objects that differ than are asked for.
    """
    kinds = kinds_of(objects)
    numbers = np.arange(len(kinds)) if among is None else np.asarray(among, dtype=np.int64)
    first = numbers[np.unique(kinds[numbers], return_index=True)[1]]  # one object of each kind
    if len(first) < 2:
        raise ValueError(
            f"A game needs a target and others that differ from it, and there are {len(first)} objects that differ."
        )
    if num_distractors < 1 or num_distractors >= len(first):
        raise ValueError(
            f"num_distractors is {num_distractors}, and there are {len(first):,} objects that differ, the target among them: "
            f"set it from 1 to {len(first) - 1:,}."
        )
    candidates, labels = [], []
    for target in numbers.tolist() if targets is None else targets:
        generator = np.random.default_rng([seed, target])
        others = first[kinds[first] != kinds[target]]
        chosen = generator.choice(others, num_distractors, replace=False).tolist()
        place = int(generator.integers(num_distractors + 1))
        candidates.append([*chosen[:place], target, *chosen[place:]])
        labels.append(place)
    return Dataset.from_dict({"candidates": candidates, "labels": labels})


def kinds_of(objects: torch.Tensor | Sequence[Sequence[int]]) -> np.ndarray:
    """A number for each of N objects, equal for equal ones: (N,)."""
    if isinstance(objects, torch.Tensor):
        return torch.unique(objects, dim=0, return_inverse=True)[1].numpy()
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(tuple(row), len(numbers)) for row in objects])


class GameCollator:
    """Rows of games to a batch of `ReferentialGameModel`: each object of the batch once, and games as numbers of these.

    Args:
        objects: all N objects, (N, A) integers or (N, F) floats, or N lists of token ids.
        pad_token_id: of lists of token ids.
    """

    def __init__(self, objects: torch.Tensor | Sequence[Sequence[int]], pad_token_id: int = 0):
        self.objects, self.pad_token_id = objects, pad_token_id

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """B rows to `labels` (B,), `candidates` (B, C) where they are drawn already, -1 where a game has fewer, and
        `objects`, of texts with their `object_mask`."""
        if "candidates" not in features[0]:
            numbers = [int(feature["objects"]) for feature in features]
            return {"labels": torch.arange(len(numbers)), **self._objects(numbers)}
        rows = [list(feature["candidates"]) for feature in features]
        numbers = sorted({number for row in rows for number in row})
        places = {number: place for place, number in enumerate(numbers)}
        candidates = pad_rows([[places[number] for number in row] for row in rows], -1)
        labels = torch.tensor([int(feature["labels"]) for feature in features])
        return {"labels": labels, "candidates": torch.tensor(candidates), **self._objects(numbers)}

    def _objects(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        if isinstance(self.objects, torch.Tensor):
            return {"objects": self.objects[torch.tensor(numbers)]}
        rows = [list(self.objects[number]) for number in numbers]
        ids = torch.tensor(pad_rows(rows, self.pad_token_id))
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()
        return {"objects": ids, "object_mask": mask}
