"""Random tree distributions in float64, and the same with every tree of a row written down."""

from functools import cache

import torch

from hf_lvm.distributions.binary_tree import BinaryTreeCRF


def random_trees(
    batch: int = 3,
    length: int = 4,
    labels: int | None = None,
    *,
    ragged: bool = False,
    lengths: torch.Tensor | None = None,
    forbidding: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> BinaryTreeCRF:
    """With a gradient to its scores; where it forbids, the right-branching tree at least is left."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, length, length) if labels is None else (batch, length, length, labels)
    scores = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    if ragged and lengths is None:
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    if forbidding:
        forbidden = torch.rand(shape, generator=generator) < 0.3
        positions, label = torch.arange(length), () if labels is None else (0,)
        ends = torch.full((batch,), length) if lengths is None else lengths
        forbidden[:, positions, positions, *label] = False
        forbidden[torch.arange(batch), :, ends - 1, *label] = False
        scores = scores.masked_fill(forbidden, -torch.inf)
    return BinaryTreeCRF(scores.requires_grad_(), lengths)


def row_lengths(trees: BinaryTreeCRF) -> list[int]:
    (batch,), length = trees.batch_shape, trees.event_shape[0]
    return [length] * batch if trees.lengths is None else trees.lengths.tolist()


@cache
def bracketings(start: int, end: int) -> list[frozenset[tuple[int, int]]]:
    """All binary trees over start..end, as sets of spans."""
    if start == end:
        return [frozenset([(start, end)])]
    return [
        left | right | {(start, end)}
        for split in range(start, end)
        for left in bracketings(start, split)
        for right in bracketings(split + 1, end)
    ]


@cache
def all_masks(words: int, length: int, labels: int | None = None) -> torch.Tensor:
    """Every tree over `words` positions of `length`: (T, length, length), or with every label, (T, length, length, L)."""
    masks = []
    for spans in bracketings(0, words - 1):
        starts, ends = torch.tensor(sorted(spans)).unbind(1)
        if labels is None:
            mask = torch.zeros(1, length, length, dtype=torch.bool)
            mask[:, starts, ends] = True
        else:
            choices = torch.cartesian_prod(*[torch.arange(labels)] * len(spans)).view(-1, len(spans))
            mask = torch.zeros(len(choices), length, length, labels, dtype=torch.bool)
            mask[torch.arange(len(choices)).unsqueeze(1), starts, ends, choices] = True
        masks.append(mask)
    return torch.cat(masks)


def all_trees(trees: BinaryTreeCRF, row: int) -> torch.Tensor:
    """Every tree of a row: (T, n, n) or (T, n, n, L)."""
    return all_masks(row_lengths(trees)[row], trees.event_shape[0], trees.num_labels)


def tree_scores(trees: BinaryTreeCRF, row: int) -> torch.Tensor:
    """Of `all_trees`: (T,), differentiable."""
    return trees.scores[row].masked_fill(~all_trees(trees, row), 0.0).flatten(1).sum(1)


def places(values: torch.Tensor, trees: torch.Tensor) -> torch.Tensor:
    """Which of the trees (T, n, n) or (T, n, n, L) each of (N, ...) is: (N,). All must be among them."""
    values, trees = values.flatten(1), trees.flatten(1)
    # As many True as both have where they are the same.
    shared = values.float() @ trees.float().T
    same = (shared == trees.sum(1)) & (shared == values.sum(1, keepdim=True))
    assert (same.sum(1) == 1).all()
    return same.long().argmax(1)


def expected(probability: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The sum over trees with 0 * inf = 0."""
    possible = probability > 0
    return (probability[possible] * values[possible]).sum()


def check_frequencies(found: torch.Tensor, probability: torch.Tensor) -> None:
    """A chi-square test of counts (T,) against probabilities (T,), four standard deviations wide."""
    possible, wanted = probability > 0, found.sum() * probability
    assert not found[~possible].any()
    # Cells with fewer than 5 expected would not be close to normal.
    cells = wanted >= 5
    assert cells.sum() > 1 or len(found) == 1
    statistic, freedom = ((found - wanted).square() / wanted)[cells].sum(), int(cells.sum())
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, (statistic, freedom)


def gradients(value: torch.Tensor, *trees: BinaryTreeCRF) -> list[torch.Tensor]:
    """Of the sum of `value` in all scores."""
    scores = [each.scores for each in trees]
    return torch.autograd.grad(value.sum(), scores, retain_graph=True, allow_unused=True, materialize_grads=True)
