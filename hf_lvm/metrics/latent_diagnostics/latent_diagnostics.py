"""Active units, mutual information and KL of diagonal Gaussian posteriors over a data set.

The two kinds of mutual information in the literature come back under two names, each with its ceiling.
"""

import math

import evaluate
import numpy as np
import torch
from datasets import Features, List, Value
from numpy.typing import ArrayLike
from torch.distributions import Independent, Normal, kl_divergence

from hf_lvm.objectives.diagnostics import active_units, batch_mutual_information, mutual_information

_DESCRIPTION = """\
Says whether the latent variable of a model is used. Active units are the latent dimensions whose posterior mean has a
variance of at least 0.01 over the data set (Burda et al. 2016). Mutual information between sentence and latent is
estimated against the whole data set (ceiling log N) and, as in He et al. 2019, within minibatches (ceiling
log batch_size); numbers of the two kinds cannot be compared. Posteriors are diagonal Gaussians."""

_INPUTS_DESCRIPTION = """
Args:
    means: posterior means, one row of D numbers per sentence.
    standard_deviations: posterior standard deviations, likewise.
    latents (optional, N rows of D): one sample of each posterior; drawn with `seed` when absent.
    kl_per_dimension (optional, N rows of D): KL per dimension in nats; computed against the standard normal prior when
        absent, so pass it when the prior is another one.
    threshold (defaults to 0.01): smallest variance of the mean in an active dimension.
    batch_size (defaults to 32): sentences per minibatch of batch_mutual_information.
    seed (defaults to 0): of the samples drawn when no latents are given.

Returns:
    active_units, active_share (of D), latent_size, sentences; in nats: mutual_information,
    mutual_information_ceiling (log N), batch_mutual_information, batch_mutual_information_ceiling, batch_size,
    kl (per sentence), kl_per_dimension (list of D, means over sentences).

Examples:
    >>> metric = hf_lvm.metrics.load("latent_diagnostics")
    >>> metric.compute(means=[[2.0, 0.0], [-2.0, 0.0]], standard_deviations=[[0.1, 1.0], [0.1, 1.0]])
"""

_CITATION = """\
@inproceedings{burda2016importance,
  title     = {Importance Weighted Autoencoders},
  author    = {Burda, Yuri and Grosse, Roger and Salakhutdinov, Ruslan},
  booktitle = {International Conference on Learning Representations},
  year      = {2016},
}
@inproceedings{he2019lagging,
  title     = {Lagging Inference Networks and Posterior Collapse in Variational Autoencoders},
  author    = {He, Junxian and Spokoyny, Daniel and Neubig, Graham and Berg-Kirkpatrick, Taylor},
  booktitle = {International Conference on Learning Representations},
  year      = {2019},
}
@inproceedings{hoffman2016elbo,
  title     = {{ELBO} Surgery: Yet Another Way to Carve up the Variational Evidence Lower Bound},
  author    = {Hoffman, Matthew D. and Johnson, Matthew J.},
  booktitle = {NIPS Workshop on Advances in Approximate Bayesian Inference},
  year      = {2016},
}"""


def compute_latent_diagnostics(
    means: ArrayLike,
    standard_deviations: ArrayLike,
    latents: ArrayLike | None = None,
    kl_per_dimension: ArrayLike | None = None,
    threshold: float = 0.01,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, float | int | list[float]]:
    """Diagnose diagonal Gaussian posteriors of N sentences over D latent dimensions.

    Args:
        means: (N, D) posterior means.
        standard_deviations: (N, D), positive.
        latents: (N, D) one sample of each posterior; drawn with `seed` when None.
        kl_per_dimension: (N, D) nats; when None, the closed form against a standard normal prior. Pass it for any
            other prior.
        threshold: smallest variance of the mean in an active dimension.
        batch_size: sentences per minibatch of `batch_mutual_information`, in the order given.
        seed: of the samples drawn when `latents` is None.

    Returns:
        `active_units`, `active_share`, `latent_size`, `sentences`; in nats `mutual_information` with
        `mutual_information_ceiling` (log N), `batch_mutual_information` with `batch_mutual_information_ceiling` and
        its `batch_size`, `kl` per sentence and `kl_per_dimension`, a list of D means over sentences.

    Raises:
        ValueError: fewer than two sentences, shapes that differ, values that are not finite, deviations that are not
            positive.
    """
    mean = _matrix("means", means)
    deviation = _matrix("standard_deviations", standard_deviations, shape=mean.shape)
    if not (deviation > 0).all():
        raise ValueError(f"standard_deviations go down to {float(deviation.min()):g}; they must be positive")
    normal = Normal(mean, deviation)
    posterior = Independent(normal, 1)
    if latents is None:
        noise = np.random.default_rng(seed).standard_normal(tuple(mean.shape))
        latent = mean + deviation * torch.from_numpy(noise)
    else:
        latent = _matrix("latents", latents, shape=mean.shape)
    if kl_per_dimension is None:
        prior = Normal(torch.zeros((), dtype=mean.dtype), torch.ones((), dtype=mean.dtype))
        kl = kl_divergence(normal, prior)
    else:
        kl = _matrix("kl_per_dimension", kl_per_dimension, shape=mean.shape)
    sentences, latent_size = mean.shape
    active, _ = active_units(mean, threshold=threshold)
    return {
        "active_units": active,
        "active_share": active / latent_size,
        "latent_size": latent_size,
        "sentences": sentences,
        "mutual_information": mutual_information(posterior, latent),
        "mutual_information_ceiling": math.log(sentences),
        "batch_mutual_information": batch_mutual_information(posterior, latent, batch_size=batch_size),
        "batch_mutual_information_ceiling": math.log(min(batch_size, sentences)),
        "batch_size": batch_size,
        "kl": float(kl.sum(dim=1).mean()),
        "kl_per_dimension": kl.mean(dim=0).tolist(),
    }


def _matrix(name: str, values: ArrayLike, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    matrix = torch.from_numpy(np.array(values, dtype=np.float64))
    if matrix.dim() != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}; (sentences, latent dimensions) is needed")
    if shape is not None and matrix.shape != shape:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)} and means has {tuple(shape)}; they must be equal")
    if not torch.isfinite(matrix).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return matrix


class LatentDiagnostics(evaluate.Metric):
    """`evaluate` module over [`compute_latent_diagnostics`]."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=Features(
                {"means": List(Value("float64")), "standard_deviations": List(Value("float64"))},
            ),
        )

    def _compute(self, means, standard_deviations, **options):
        return compute_latent_diagnostics(means, standard_deviations, **options)
