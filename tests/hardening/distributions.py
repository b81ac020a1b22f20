"""Distributions whose rows are made one by one, so that a row is the same alone and in any batch, however far it is padded.

Behind the length of a row stand numbers that are none: whatever looks at them shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.distributions import Distribution

from hf_lvm.distributions import (
    BinaryTreeCRF,
    CanonicalDeletion,
    CategoricalVector,
    DiagonalGaussian,
    Dirichlet,
    GaussianMixture,
    HypersphericalUniform,
    LinearChainCRF,
    NormalizingFlow,
    VonMisesFisher,
)
from hf_lvm.layers.priors.flow import AffineCoupling

STATES, LABELS, SIZE = 3, 2, 3
ANOTHER = 10**6 + 1  # added to the seed of a row: other numbers, for the same words and count
Row = tuple[int, int]  # a seed and a length
Built = tuple[Distribution, list[torch.Tensor]]  # and its parameters, to be differentiated


@dataclass(frozen=True)
class Family:
    """Attributes:
    build: of rows, a width of at least their lengths and a dtype.
    structured: whether rows have lengths; such a distribution computes in float32 or better, whatever the dtype.
    """

    build: Callable[[Sequence[Row], int, torch.dtype], Built]
    structured: bool = False


def generator(row: Row, more: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(row[0] * 31 + more)


def _numbers(rows: Sequence[Row], *shape: int, dtype: torch.dtype, scale: float = 1.5) -> torch.Tensor:
    """Of rows that have no lengths: (B, *shape), rounded to bfloat16, so that every dtype has the same."""
    drawn = [torch.randn(shape, generator=generator(row), dtype=torch.float64) for row in rows]
    return (scale * torch.stack(drawn)).bfloat16().to(dtype).requires_grad_()


def _padded(
    rows: Sequence[Row], width: int, lengths: Sequence[int], fixed: Sequence[int], dtype: torch.dtype, more: int = 0
) -> torch.Tensor:
    """(B, width + lengths[0], ..., *fixed): numbers up to the length of a row plus lengths[0], not-a-numbers behind it."""
    result = torch.full((len(rows), *(width + extra for extra in lengths), *fixed), torch.nan, dtype=torch.float64)
    for place, row in zip(result, rows, strict=True):
        inside = tuple(slice(0, row[1] + extra) for extra in lengths)
        drawn = torch.randn(place[inside].shape, generator=generator(row, more), dtype=torch.float64)
        place[inside] = (1.5 * drawn).bfloat16().double()
    return result.to(dtype).requires_grad_()


def _lengths(rows: Sequence[Row]) -> torch.Tensor:
    return torch.tensor([length for _, length in rows])


def _chain(rows, width, dtype) -> Built:
    transitions = _padded(rows, width, (-1,), (STATES, STATES), dtype, 1)
    unary = _padded(rows, width, (0,), (STATES,), dtype)
    return LinearChainCRF(transitions, unary, _lengths(rows)), [transitions, unary]


def _chain_of_shared_transitions(rows, width, dtype) -> Built:
    transitions = _numbers([(3, 0)], STATES, STATES, dtype=dtype)
    unary = _padded(rows, width, (0,), (STATES,), dtype)
    return LinearChainCRF(transitions[0], unary, _lengths(rows)), [transitions, unary]


def _trees(rows, width, dtype) -> Built:
    scores = _padded(rows, width, (0, 0), (), dtype)
    return BinaryTreeCRF(scores, _lengths(rows)), [scores]


def _labelled_trees(rows, width, dtype) -> Built:
    scores = _padded(rows, width, (0, 0), (LABELS,), dtype)
    return BinaryTreeCRF(scores, _lengths(rows)), [scores]


def _deletions(rows, width, dtype, **options) -> Built:
    scores = end_last(_padded(rows, width, (1, 1), (), dtype).detach(), rows).requires_grad_()
    rows = [(seed % ANOTHER, length) for seed, length in rows]
    words = torch.full((len(rows), width), 7)
    for place, row in zip(words, rows, strict=True):
        place[: row[1]] = torch.randint(0, 3, (row[1],), generator=generator(row, 2))
    return CanonicalDeletion(scores, words, _lengths(rows), **options), [scores]


def end_last(scores: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """With the column behind each length moved to the end, which is where that of a pair to the end stands."""
    result = torch.full_like(scores, torch.nan)
    for place, own, (_, length) in zip(result, scores, rows, strict=True):
        place[: length + 1, :length] = own[: length + 1, :length]
        place[: length + 1, -1] = own[: length + 1, length]
    return result


def _deletions_of_a_count(rows, width, dtype) -> Built:
    # One word is always possible, and more where the row has as many.
    return _deletions(rows, width, dtype, count=torch.tensor([1 + seed % ANOTHER % length for seed, length in rows]))


def _gaussian(rows, width, dtype) -> Built:
    mean, scale = (_numbers(rows, SIZE, dtype=dtype, scale=scale) for scale in (1.5, 0.5))
    return DiagonalGaussian(mean, scale.exp()), [mean, scale]


def _von_mises_fisher(rows, width, dtype) -> Built:
    direction, concentration = _numbers(rows, SIZE, dtype=dtype), _numbers(rows, dtype=dtype, scale=3.0)
    return VonMisesFisher(direction, concentration.exp()), [direction, concentration]


def _uniform_sphere(rows, width, dtype) -> Built:
    return HypersphericalUniform(len(rows), SIZE, dtype=dtype), []


def _categories(rows, width, dtype) -> Built:
    logits = _numbers(rows, 2, STATES, dtype=dtype)
    return CategoricalVector(logits, (STATES, 2)), [logits]


def _dirichlet(rows, width, dtype) -> Built:
    concentration = _numbers(rows, SIZE, dtype=dtype)
    return Dirichlet(concentration.exp()), [concentration]


def _mixture(rows, width, dtype) -> Built:
    logits, mean, scale = (
        _numbers([(seed, 0)], 2, *shape, dtype=dtype) for seed, shape in ((1, ()), (2, (SIZE,)), (3, (SIZE,)))
    )
    return GaussianMixture(logits[0], mean[0], (scale[0] / 4).exp(), len(rows)), [logits, mean, scale]


def _flow(rows, width, dtype) -> Built:
    layers = torch.nn.ModuleList(AffineCoupling(SIZE, index) for index in range(2)).to(dtype)
    for index, parameter in enumerate(layers.parameters()):
        drawn = torch.randn(parameter.shape, generator=generator((index, 0)), dtype=torch.float64)
        parameter.data = (drawn / 4).to(dtype)
    return NormalizingFlow(layers, len(rows), SIZE, dtype=dtype), list(layers.parameters())


FAMILIES = {
    "chain": Family(_chain, structured=True),
    "chain, shared transitions": Family(_chain_of_shared_transitions, structured=True),
    "trees": Family(_trees, structured=True),
    "labelled trees": Family(_labelled_trees, structured=True),
    "deletions": Family(_deletions, structured=True),
    "deletions, or nothing": Family(lambda *how: _deletions(*how, allow_empty=True), structured=True),
    "deletions, counted": Family(_deletions_of_a_count, structured=True),
    "gaussian": Family(_gaussian),
    "von mises-fisher": Family(_von_mises_fisher),
    "uniform sphere": Family(_uniform_sphere),
    "categories": Family(_categories),
    "dirichlet": Family(_dirichlet),
    "mixture": Family(_mixture),
    "flow": Family(_flow),
}
