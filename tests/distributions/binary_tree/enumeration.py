"""Random tree distributions in float64, and the same with every tree of a row written down."""

from functools import cache

import torch

from hf_lvm.distributions.binary_tree import BinaryTreeCRF


def random_trees(
    batch: int = 3,
    length: int = 4,
    *,
    ragged: bool = False,
    lengths: torch.Tensor | None = None,
    forbidding: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> BinaryTreeCRF:
    """With a gradient to its scores; where it forbids, the right-branching tree at least is left."""
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(batch, length, length, generator=generator, dtype=torch.float64)
    if ragged and lengths is None:
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    if forbidding:
        forbidden = torch.rand(scores.shape, generator=generator) < 0.3
        positions = torch.arange(length)
        forbidden[:, positions, positions] = False
        forbidden[torch.arange(batch), :, (torch.full((batch,), length) if lengths is None else lengths) - 1] = False
        scores = scores.masked_fill(forbidden, -torch.inf)
    return BinaryTreeCRF(scores.requires_grad_(), lengths)


def row_lengths(trees: BinaryTreeCRF) -> list[int]:
    (batch,), (length, _) = trees.batch_shape, trees.event_shape
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
def all_masks(words: int, length: int) -> torch.Tensor:
    """Every tree over `words` positions of `length`: (T, length, length)."""
    trees = bracketings(0, words - 1)
    masks = torch.zeros(len(trees), length, length, dtype=torch.bool)
    for tree, spans in enumerate(trees):
        for start, end in spans:
            masks[tree, start, end] = True
    return masks


def all_trees(trees: BinaryTreeCRF, row: int) -> torch.Tensor:
    """Every tree of a row: (T, n, n)."""
    return all_masks(row_lengths(trees)[row], trees.event_shape[0])


def tree_scores(trees: BinaryTreeCRF, row: int) -> torch.Tensor:
    """Of `all_trees`: (T,), differentiable."""
    return trees.scores[row].masked_fill(~all_trees(trees, row), 0.0).sum((1, 2))


def places(spans: torch.Tensor, trees: torch.Tensor) -> torch.Tensor:
    """Which of the trees (T, n, n) each of (..., n, n) is: (...). All must be among them."""
    same = (spans.flatten(-2).unsqueeze(-2) == trees.flatten(1)).all(-1)
    assert same.any(-1).all()
    return same.long().argmax(-1)


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
    statistic, freedom = ((found - wanted).square() / wanted)[cells].sum(), int(cells.sum())
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, (statistic, freedom)


def gradients(value: torch.Tensor, *trees: BinaryTreeCRF) -> list[torch.Tensor]:
    """Of the sum of `value` in all scores."""
    scores = [each.scores for each in trees]
    return torch.autograd.grad(value.sum(), scores, retain_graph=True, allow_unused=True, materialize_grads=True)
