"""log p(x) of sentences from their importance weights, how sure it is, and how it converges with their number.

An importance-weighted likelihood is a lower bound in the mean that rises with the number of samples K. One number for one K
does not say whether it has stopped rising; the row over several K, all from the same weights, does.
"""

import math
from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np
import torch
from datasets import Features, List, Value
from numpy.typing import ArrayLike

from hf_lvm.objectives.importance_weighting import estimate_from_log_weights, importance_weighted_bound

SIZES = (1, 10, 100, 500)

_DESCRIPTION = """\
Estimates -log p(x) from importance weights w = p(x|z) p(z) / q(z|x), z ~ q(z|x) (Burda et al. 2016, equation 8), with the
standard error that comes from sampling, the effective sample size (sum w)^2 / sum w^2, and the K-sample bound for smaller K
from the same weights: they are cut in disjoint groups of K, whose bounds are averaged. K = 1 is the negative ELBO. In the
mean all are upper bounds of -log p(x) that fall with K; a row that still falls at its end has not converged."""

_INPUTS_DESCRIPTION = """
Args:
    log_weights: log w in nats, one row of K numbers per sentence, in the order they were drawn.
    sizes (defaults to [1, 10, 100, 500]): numbers of samples in the convergence row; those above K are left out, and K
        itself ends the row.

Returns:
    nats_per_sentence (of -log p(x), from all K), sampling_standard_error (of that number, over draws of z and not over
    sentences; None for K = 1), num_samples (K), sentences, mean_effective_sample_size, low_sample_size_sentences and
    low_sample_size_share (sentences with an effective sample size below 10: their -log p(x) may lie well below the
    estimate), convergence: a list of {num_samples, groups, nats_per_sentence, sampling_standard_error}.

Examples:
    >>> metric = hf_lvm.metrics.load("importance_weighting")
    >>> metric.compute(log_weights=[[-20.1, -19.5, -22.0], [-31.0, -30.2, -30.9]], sizes=[1, 3])
"""

_CITATION = """\
@inproceedings{burda2016importance,
  title     = {Importance Weighted Autoencoders},
  author    = {Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan},
  booktitle = {International Conference on Learning Representations},
  year      = {2016},
}"""


def convergence_row(log_weights: torch.Tensor, num_samples: int) -> dict[str, float | int | None]:
    """The K-sample bound of a corpus from more than K weights a sentence.

    The weights are cut in disjoint groups of K, the rest is not used. The mean of the groups' bounds is an unbiased
    estimate of the K-sample bound E[log 1/K sum_k w_k] (Burda et al. 2016, equation 8).

    Args:
        log_weights: (M, B), M >= K, independent along the first dimension.
        num_samples: K.

    Returns:
        `num_samples` K, `groups`, `nats_per_sentence` (the negated bound, mean over B), `sampling_standard_error` of it:
        from the spread of the groups; for one group by the delta method; None where there is one weight in all.
    """
    groups = log_weights.shape[0] // num_samples
    grouped = log_weights[: groups * num_samples].double().view(groups, num_samples, -1)
    bounds = importance_weighted_bound(grouped.transpose(0, 1))  # (groups, B)
    errors = estimate_from_log_weights(grouped[0]).standard_error
    if groups > 1:
        errors = bounds.var(0, unbiased=True).div(groups).sqrt()
    error = errors.square().sum().sqrt().item() / log_weights.shape[1]
    return {
        "num_samples": num_samples,
        "groups": groups,
        "nats_per_sentence": -bounds.mean().item(),
        "sampling_standard_error": error if math.isfinite(error) else None,
    }


def compute_importance_weighting(log_weights: ArrayLike, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Estimate -log p(x) of N sentences from K importance weights each.

    Args:
        log_weights: (N, K), log p(x|z) + log p(z) - log q(z|x) in nats, z ~ q(z|x).
        sizes: numbers of samples in the convergence row; those above K are left out, and K itself ends the row.

    Returns:
        `nats_per_sentence`, `sampling_standard_error`, `num_samples`, `sentences`, `mean_effective_sample_size`,
        `low_sample_size_sentences`, `low_sample_size_share`, and `convergence`, a list of [`convergence_row`].

    Raises:
        ValueError: another shape, weights that are not finite, a size that is no whole number of at least 1.
    """
    array = np.array(log_weights, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"log_weights has shape {array.shape}; one row of weights per sentence is needed: (N, K)")
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if broken.size:
        raise ValueError(
            f"log_weights is not finite in {broken.size} of {len(array)} sentences, first in sentence {broken[0]}; "
            "look for a standard deviation of 0 or a diverged model before averaging over the rest"
        )
    if any(size != int(size) or size < 1 for size in sizes):
        raise ValueError(f"sizes is {list(sizes)}; numbers of samples are whole and at least 1")
    weights = torch.from_numpy(array).T
    count = weights.shape[0]
    estimate = estimate_from_log_weights(weights)
    rows = [convergence_row(weights, size) for size in sorted({int(size) for size in sizes if size < count} | {count})]
    low = int(estimate.low_sample_size.sum())
    return {
        "nats_per_sentence": rows[-1]["nats_per_sentence"],
        "sampling_standard_error": rows[-1]["sampling_standard_error"],
        "num_samples": count,
        "sentences": len(array),
        "mean_effective_sample_size": estimate.effective_sample_size.mean().item(),
        "low_sample_size_sentences": low,
        "low_sample_size_share": low / len(array),
        "convergence": rows,
    }


class ImportanceWeighting(evaluate.Metric):
    """`evaluate` module over [`compute_importance_weighting`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features({"log_weights": List(Value("float64"))}),
        )

    def _compute(self, log_weights, sizes=SIZES):
        return compute_importance_weighting(log_weights, sizes)
