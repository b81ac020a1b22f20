"""Random deletions in float64, and the same with every compression of a row written down."""

from functools import cache
from itertools import combinations

import torch

from hf_lvm.distributions.deletion import CanonicalDeletion


def random_deletion(
    batch: int = 3,
    length: int = 4,
    vocabulary: int | None = 3,
    *,
    ragged: bool = False,
    lengths: torch.Tensor | None = None,
    counted: bool = False,
    allow_empty: bool = False,
    forbidding: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> CanonicalDeletion:
    """With a gradient to its scores; where it forbids, the masks that keep the first words are left."""
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(batch, length + 1, length + 1, generator=generator, dtype=torch.float64)
    words = None if vocabulary is None else torch.randint(vocabulary, (batch, length), generator=generator)
    if ragged and lengths is None:
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    count = None
    if counted:
        most = torch.full((batch,), length) if lengths is None else lengths
        count = 1 + (torch.rand(batch, generator=generator) * most).long()
    if forbidding:
        forbidden = torch.rand(scores.shape, generator=generator) < 0.3
        forbidden[:, torch.arange(length), torch.arange(length)] = False
        forbidden[..., -1] = False
        scores = scores.masked_fill(forbidden, -torch.inf)
    return CanonicalDeletion(scores.requires_grad_(), words, lengths, allow_empty, count)


def row_lengths(deletion: CanonicalDeletion) -> list[int]:
    (batch,), (length,) = deletion.batch_shape, deletion.event_shape
    return [length] * batch if deletion.lengths is None else deletion.lengths.tolist()


@cache
def compressions(words: tuple[int, ...]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Of each compression of a sentence the positions that come first among all that leave it."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for size in range(len(words) + 1):
        # In lexicographic order, so that the leftmost come first.
        for positions in combinations(range(len(words)), size):
            found.setdefault(tuple(words[position] for position in positions), positions)
    return found


@cache
def _masks_and_pairs(words: tuple[int, ...], length: int, least: int, count: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    masks, pairs = [], []
    for positions in compressions(words).values():
        if len(positions) < least or count not in (None, len(positions)):
            continue
        mask = torch.zeros(length, dtype=torch.bool)
        mask[list(positions)] = True
        pair = torch.zeros(length + 1, length + 1, dtype=torch.bool)
        pair[[0, *(position + 1 for position in positions)], [*positions, length]] = True
        masks.append(mask)
        pairs.append(pair)
    return torch.stack(masks), torch.stack(pairs)


def masks_and_pairs(deletion: CanonicalDeletion, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every canonical mask of a row, (M, S), and its pairs, (M, S+1, S+1), bool."""
    (length,), size = deletion.event_shape, row_lengths(deletion)[row]
    words = tuple(range(size)) if deletion.words is None else tuple(deletion.words[row, :size].tolist())
    count = None if deletion.count is None else int(deletion.count[row])
    return _masks_and_pairs(words, length, 0 if deletion.allow_empty else 1, count)


def mask_scores(deletion: CanonicalDeletion, row: int, scores: torch.Tensor | None = None) -> torch.Tensor:
    """Of `masks_and_pairs`, with other pair scores (B, S+1, S+1) if they are given: (M,), differentiable."""
    pairs = masks_and_pairs(deletion, row)[1]
    scores = deletion.pair_scores if scores is None else scores
    return scores[row].masked_fill(~pairs, 0.0).sum((1, 2))


def expected(probability: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The sum over masks with 0 * inf = 0."""
    possible = probability > 0
    return (probability[possible] * values[possible]).sum()


def gradients(value: torch.Tensor, *deletions: CanonicalDeletion) -> list[torch.Tensor]:
    """Of the sum of `value` in all scores."""
    scores = [each.pair_scores for each in deletions]
    return torch.autograd.grad(value.sum(), scores, retain_graph=True, allow_unused=True, materialize_grads=True)
