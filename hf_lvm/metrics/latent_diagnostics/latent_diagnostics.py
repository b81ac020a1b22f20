"""Active units, mutual information and KL of the posteriors of a data set.

The two kinds of mutual information in the literature come back under two names, each with its ceiling. The `evaluate`
module takes the means and standard deviations of diagonal Gaussians; `diagnose_posterior` takes any distribution.
"""

import math

import evaluate
import numpy as np
import torch
from datasets import Features, List, Value
from numpy.typing import ArrayLike
from torch.distributions import Distribution, Independent, Normal, kl_divergence

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
    kl (optional, N numbers): KL in nats for a prior under which it has no parts (a mixture, a flow), in place of
        kl_per_dimension. A Monte Carlo estimate may be below 0 for some sentences.
    threshold (defaults to 0.01): smallest variance of the mean in an active dimension.
    batch_size (defaults to 32): sentences per minibatch of batch_mutual_information.
    seed (defaults to 0): of the samples drawn when no latents are given.

Returns:
    active_units, active_share (of D), latent_size, sentences; in nats: mutual_information,
    mutual_information_ceiling (log N), batch_mutual_information, batch_mutual_information_ceiling, batch_size,
    kl (per sentence), kl_per_dimension (list of D, means over sentences; None where kl was given).

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
    kl: ArrayLike | None = None,
) -> dict[str, float | int | list[float] | None]:
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
        kl: (N,) nats, in place of `kl_per_dimension` for a prior under which the KL has no parts.

    Returns:
        What [`diagnose_posterior`] returns.

    Raises:
        ValueError: fewer than two sentences, shapes that differ, values that are not finite, deviations that are not
            positive, both kinds of KL at once.
    """
    mean = _matrix("means", means)
    deviation = _matrix("standard_deviations", standard_deviations, shape=mean.shape)
    if not (deviation > 0).all():
        raise ValueError(f"standard_deviations go down to {float(deviation.min()):g}; they must be positive")
    normal = Normal(mean, deviation)
    if latents is None:
        noise = np.random.default_rng(seed).standard_normal(tuple(mean.shape))
        latent = mean + deviation * torch.from_numpy(noise)
    else:
        latent = _matrix("latents", latents, shape=mean.shape)
    if kl is not None:
        if kl_per_dimension is not None:
            raise ValueError("both kl and kl_per_dimension are given; the sum of the second is the first, so give one")
        kl, parts = _column("kl", kl, count=len(mean)), None
    else:
        if kl_per_dimension is None:
            parts = kl_divergence(normal, Normal(torch.zeros((), dtype=mean.dtype), torch.ones((), dtype=mean.dtype)))
        else:
            parts = _matrix("kl_per_dimension", kl_per_dimension, shape=mean.shape)
        kl = parts.sum(dim=1)
    return diagnose_posterior(
        Independent(normal, 1), latent, mean, kl, kl_per_dimension=parts, threshold=threshold, batch_size=batch_size
    )


def diagnose_posterior(
    posterior: Distribution,
    latents: torch.Tensor,
    means: torch.Tensor,
    kl: torch.Tensor,
    *,
    kl_per_dimension: torch.Tensor | None = None,
    threshold: float = 0.01,
    batch_size: int = 32,
    chunk_size: int | None = None,
) -> dict[str, float | int | list[float] | None]:
    """Diagnose posteriors of any family over latent vectors.

    Args:
        posterior: q(z | x_1..x_N), batch shape (N,), event shape (D,), with a `log_prob` that broadcasts.
        latents: (N, D) in float32 or float64, one sample of each posterior.
        means: (N, D) posterior means E[z | x].
        kl: (N,) nats.
        kl_per_dimension: (N, D) nats, where the KL is a sum over dimensions.
        threshold: smallest variance of the mean in an active dimension.
        batch_size: sentences per minibatch of `batch_mutual_information`, in the order given.
        chunk_size: latents compared at once with all posteriors; see `mutual_information`.

    Returns:
        `active_units`, `active_share`, `latent_size`, `sentences`; in nats `mutual_information` with
        `mutual_information_ceiling` (log N), `batch_mutual_information` with `batch_mutual_information_ceiling` and
        its `batch_size`, `kl` per sentence and `kl_per_dimension`, a list of D means over sentences or None.

    Raises:
        ValueError: see `active_units` and `mutual_information` of `hf_lvm.objectives.diagnostics`.
    """
    sentences, latent_size = means.shape
    active, _ = active_units(means, threshold=threshold)
    return {
        "active_units": active,
        "active_share": active / latent_size,
        "latent_size": latent_size,
        "sentences": sentences,
        "mutual_information": mutual_information(posterior, latents, chunk_size),
        "mutual_information_ceiling": math.log(sentences),
        "batch_mutual_information": batch_mutual_information(posterior, latents, batch_size=batch_size),
        "batch_mutual_information_ceiling": math.log(min(batch_size, sentences)),
        "batch_size": batch_size,
        "kl": float(kl.mean()),
        "kl_per_dimension": None if kl_per_dimension is None else kl_per_dimension.mean(dim=0).tolist(),
    }


def _column(name: str, values: ArrayLike, count: int) -> torch.Tensor:
    column = torch.from_numpy(np.array(values, dtype=np.float64))
    if column.shape != (count,):
        raise ValueError(f"{name} has shape {tuple(column.shape)} for {count} sentences; one number each is needed")
    if not torch.isfinite(column).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return column


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
