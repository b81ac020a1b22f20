"""Ways through the latent space, and scores of them: along one dimension, and from text to text.

That sentences between two codes are sentences, and change little by little, is what Bowman et al. (2015) show of a text VAE
with examples; the numbers here say how far it is true of a model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from hf_lvm.data import LatentTextProcessor
from hf_lvm.metrics.reconstruction.reconstruction import edit_similarity

Attribute = Callable[[str], float]
GRID = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def number_of_words(text: str) -> int:
    """Words of a text, split at white space."""
    return len(text.split())


@dataclass(frozen=True)
class Traversals:
    """Texts along dimensions of z.

    Attributes:
        metrics: dimension, as a string -> its scores; see [`traverse`].
        texts: dimension -> for each origin the texts in the order of the grid.
    """

    metrics: dict[str, dict[str, Any]]
    texts: dict[int, list[list[str]]]


@torch.no_grad()
def traverse(
    model,
    origins: torch.Tensor,
    processor: LatentTextProcessor,
    *,
    dimensions: Sequence[int] | None = None,
    grid: Sequence[float] = GRID,
    attributes: Mapping[str, Attribute] | None = None,
    batch_size: int = 64,
    **options,
) -> Traversals:
    """Move one dimension of z over a grid, all others as they are, and score the texts that are decoded.

    Args:
        model: a text VAE.
        origins: (N, D) latents to begin with, such as posterior means of texts.
        dimensions: those to move; all by default.
        grid: values that a dimension takes, in rising order; a standard normal prior has a deviation of 1.
        attributes: name -> number of a text; by default `length`, in words.
        options: of `decode_latents`.

    Returns:
        For each dimension the mean over the N origins of `distinct_share`, `neighbour_distance` and `largest_step` (see
        [`score_walk`]), and under `monotone` for each attribute the Spearman correlation of the attribute and the grid: `mean`
        over origins (-1 to 1; 0 where the attribute does not change along a walk), its `standard_error` (None of one origin)
        and the share of origins along which the attribute changes, `changes`. Without any effect the mean is around 0.

    Raises:
        ValueError: origins that are no matrix, a dimension that is not there, a grid that does not rise.
    """
    if origins.dim() != 2 or 0 in origins.shape:
        raise ValueError(f"origins have the shape {tuple(origins.shape)}; (origins, dimensions) is needed")
    if len(grid) < 2 or any(later <= value for value, later in zip(grid, grid[1:], strict=False)):
        raise ValueError(f"grid is {list(grid)}: give 2 values or more, in rising order")
    dimensions = range(origins.shape[1]) if dimensions is None else dimensions
    wrong = [dimension for dimension in dimensions if not 0 <= dimension < origins.shape[1]]
    if wrong:
        raise ValueError(f"there is no dimension {wrong[0]}: z has {origins.shape[1]}, counted from 0")
    attributes = {"length": number_of_words} if attributes is None else attributes
    metrics, written = {}, {}
    for dimension in dimensions:
        moved = origins.unsqueeze(1).repeat(1, len(grid), 1)  # (N, G, D)
        moved[:, :, dimension] = torch.tensor(grid, dtype=origins.dtype, device=origins.device)
        texts = decode(model, moved.flatten(0, 1), processor, batch_size, **options)
        walks = [texts[begin : begin + len(grid)] for begin in range(0, len(texts), len(grid))]
        scores = [score_walk(walk) for walk in walks]
        metrics[str(dimension)] = {
            **{key: float(np.mean([score[key] for score in scores])) for key in scores[0]},
            "monotone": {name: _monotone(walks, grid, attribute) for name, attribute in attributes.items()},
        }
        written[dimension] = walks
    return Traversals(metrics, written)


def score_walk(texts: Sequence[str]) -> dict[str, float]:
    """How smooth a sequence of texts is.

    Returns:
        `distinct_share`: different texts / texts. `neighbour_distance`: mean over neighbours of the edit distance in words
        divided by the words of the longer text (0: the same, 1: nothing in common). `largest_step`: the largest of these,
        which is near their mean on a smooth way and near 1 where the text jumps.

    Raises:
        ValueError: fewer than 2 texts.
    """
    if len(texts) < 2:
        raise ValueError(f"a way has at least 2 texts, and this one has {len(texts)}")
    steps = [1 - edit_similarity(text, later) for text, later in zip(texts, texts[1:], strict=False)]
    return {
        "distinct_share": len(set(texts)) / len(texts),
        "neighbour_distance": sum(steps) / len(steps),
        "largest_step": max(steps),
    }


def score_interpolations(
    paths: Sequence[Sequence[str]], perplexity: Callable[[Sequence[str]], float] | None = None
) -> dict[str, Any]:
    """How well texts on the way lie between both ends.

    The similarity of two texts here is position-wise: positions with the same word, divided by the words of the longer text.

    Args:
        paths: texts from one end to the other, both included; all paths of one length.
        perplexity: of texts under a language model, where there is one.

    Returns:
        Means over paths: `similarity_to_start` and `similarity_to_end`, a number for each step, which should fall from 1 and
        rise to 1; `order`, in -1 to 1, the mean of the Spearman correlations of the step with the similarity to the end and,
        negated, to the start (0 where a similarity never changes); what [`score_walk`] says; `paths` and `steps`. With
        `perplexity` also `inner_perplexity` of the texts between the ends and `end_perplexity` of the ends.

    Raises:
        ValueError: no path, paths of several lengths, or of fewer than 3 texts.
    """
    lengths = {len(path) for path in paths}
    if len(lengths) != 1 or min(lengths) < 3:
        raise ValueError(
            f"there are paths of {sorted(lengths)} texts: give at least one, all of one length, of 3 texts or more"
        )
    (steps,) = lengths
    to_start = np.array([[position_similarity(text, path[0]) for text in path] for path in paths])
    to_end = np.array([[position_similarity(text, path[-1]) for text in path] for path in paths])
    order = [
        (rank_correlation(range(steps), end) - rank_correlation(range(steps), start)) / 2
        for start, end in zip(to_start, to_end, strict=True)
    ]
    walks = [score_walk(path) for path in paths]
    scores = {
        "similarity_to_start": to_start.mean(0).tolist(),
        "similarity_to_end": to_end.mean(0).tolist(),
        "order": float(np.mean(order)),
        **{key: float(np.mean([walk[key] for walk in walks])) for key in walks[0]},
        "paths": len(paths),
        "steps": steps,
    }
    if perplexity is not None:
        scores["inner_perplexity"] = perplexity([text for path in paths for text in path[1:-1]])
        scores["end_perplexity"] = perplexity([text for path in paths for text in (path[0], path[-1])])
    return scores


def position_similarity(text: str, other: str) -> float:
    """Positions with the same word / words of the longer text; 1 for two empty ones."""
    words, others = text.split(), other.split()
    if not words and not others:
        return 1.0
    return sum(word == known for word, known in zip(words, others, strict=False)) / max(len(words), len(others))


def rank_correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one of both never changes, which leaves it undefined."""
    if len(set(values)) < 2 or len(set(others)) < 2:
        return 0.0
    return float(spearmanr(values, others).statistic)


def decode(model, latents: torch.Tensor, processor: LatentTextProcessor, batch_size: int = 64, **options) -> list[str]:
    """The texts of N latents, (N, D), on whatever device they lie."""
    chunks = latents.to(model.device).split(batch_size)
    return [text for chunk in chunks for text in model.decode_latents(chunk, processor=processor, **options)]


def _monotone(walks: Sequence[Sequence[str]], grid: Sequence[float], attribute: Attribute) -> dict[str, float | None]:
    values = [[float(attribute(text)) for text in walk] for walk in walks]
    found = np.array([rank_correlation(grid, row) for row in values])
    return {
        "mean": float(found.mean()),
        "standard_error": float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None,
        "changes": sum(len(set(row)) > 1 for row in values) / len(values),
    }
