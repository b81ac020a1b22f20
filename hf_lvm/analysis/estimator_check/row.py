"""What was measured of one estimator, and what it is called."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hf_lvm.estimators import ESTIMATORS, Estimator

# An estimate further off than chance brings it once in so many times is called off.
CHANCE = 1e-4
# Below this a variance is that of rounding: nothing was drawn.
NO_VARIANCE = 1e-9
MEASURE = "rloo"


@dataclass(frozen=True)
class EstimatorRow:
    """One estimator on one problem.

    Attributes:
        problem, objective, estimator: names; no estimator under `minimum_risk`, which is its own.
        num_samples: K, as the estimator was asked.
        scored_latents: values of z that one draw has the decoder score, for a sentence.
        draws: independent estimates that were made.
        relative_bias: norm of (mean estimate - exact gradient) / norm of the exact gradient.
        standard_error: of `relative_bias`: what it would be about, were there no bias.
        cosine: between the mean estimate and the exact gradient.
        cosine_of_one: between a single estimate and the exact gradient, in the mean.
        variance: of one draw, summed over parameters, over the squared norm of the exact gradient.
        statistic: of the mean estimate around the exact gradient, chi-squared if there is no bias.
        degrees_of_freedom: of `statistic`; 0 where there is no scatter to judge by.
        p_value: how often chance alone brings the mean so far off, if there is no bias.
        is_biased: whether the estimator is biased by its nature, whatever was measured.
        seconds: for a thousand draws, forward and backward.
    """

    problem: str
    objective: str
    estimator: str | None
    num_samples: int
    scored_latents: int
    draws: int
    relative_bias: float
    standard_error: float
    cosine: float
    cosine_of_one: float
    variance: float
    statistic: float
    degrees_of_freedom: float
    p_value: float
    is_biased: bool
    seconds: float

    @property
    def label(self) -> str:
        """What the row is called in tables and figures."""
        return self.objective if self.estimator is None else self.estimator

    @property
    def variance_per_latent(self) -> float:
        """`variance` times `scored_latents`: what one value of z would leave, for a comparison at equal decoder calls."""
        return self.variance * self.scored_latents

    @property
    def milliseconds(self) -> float:
        """For one draw."""
        return self.seconds

    @property
    def has_variance(self) -> bool:
        """Whether anything was drawn that scatters."""
        return self.variance > NO_VARIANCE

    @property
    def is_off(self) -> bool:
        """Whether the mean is further from the exact gradient than chance explains once in ten thousand times."""
        return self.p_value < CHANCE

    def as_dict(self) -> dict[str, Any]:
        """The row as a plain dictionary, for JSON."""
        return asdict(self) | {"variance_per_latent": self.variance_per_latent}


def variance_beside_rloo(row: EstimatorRow, rows: Sequence[EstimatorRow]) -> float | None:
    """The variance of a row over that of `rloo` on the same problem and objective; None where this was not measured."""
    for other in rows:
        if (other.problem, other.objective, other.estimator) == (row.problem, row.objective, MEASURE):
            return row.variance / other.variance if other.has_variance else None
    return None


def name_of(estimator: Estimator | None) -> str | None:
    """What an estimator is called: by its string, or by its class if it is none of those that ship."""
    if estimator is None:
        return None
    return estimator.name if ESTIMATORS.get(estimator.name) is type(estimator) else type(estimator).__name__


def is_biased_by_nature(estimator: Estimator | None) -> bool:
    """Whether an estimator says that it is biased; the risk over a few candidates is."""
    return estimator is None or estimator.biased
