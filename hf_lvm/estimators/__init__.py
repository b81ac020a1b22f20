"""Gradient estimators: how the gradient gets through a latent. Each is one string.

| name | of | needs of q | biased |
|---|---|---|---|
| `reparameterization` | ELBO, K-sample bound | `rsample` | no |
| `dreg` | K-sample bound | `rsample`, `detached` | no |
| `exact` | ELBO, marginal likelihood | `enumerate_support`, `support_size` within the budget | no, and no variance |
| `exact_topk` | ELBO | `top_k`, `sample_excluding` | no |
| `reinforce`, `reinforce_moving_average`, `reinforce_learned`, `rloo` | ELBO | `sample`, `log_prob` | no |
| `reinforce_self_critical` | ELBO | also `mode`, scored beside the samples | no |
| `vimco` | K-sample bound | `sample`, `log_prob` | no |
| `gumbel_softmax`, `straight_through` | ELBO | `relaxed_sample`, a KL divergence in closed form | yes |
| `relax` | ELBO | a vector of categories | no |
| `disarm` | ELBO | a vector of bits | no |
"""

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.best_candidates import BestDraws, draw_best
from hf_lvm.estimators.disarm import Disarm
from hf_lvm.estimators.doubly_reparameterized import DoublyReparameterized
from hf_lvm.estimators.draws import Draws
from hf_lvm.estimators.enumeration import Exact, ExactTopK
from hf_lvm.estimators.gumbel_softmax import GumbelSoftmax, StraightThrough
from hf_lvm.estimators.relax import Relax
from hf_lvm.estimators.reparameterization import Reparameterization
from hf_lvm.estimators.score_function import (
    Reinforce,
    ReinforceLearned,
    ReinforceLeaveOneOut,
    ReinforceMovingAverage,
    ReinforceSelfCritical,
    ScoreFunction,
)
from hf_lvm.estimators.temperature import (
    TEMPERATURE_SCHEDULES,
    check_temperature,
    check_temperature_schedule,
    temperature_at,
)
from hf_lvm.estimators.vimco import Vimco

ESTIMATORS: dict[str, type[Estimator]] = {
    estimator.name: estimator
    for estimator in (
        Reparameterization,
        DoublyReparameterized,
        Exact,
        ExactTopK,
        Reinforce,
        ReinforceMovingAverage,
        ReinforceLearned,
        ReinforceSelfCritical,
        ReinforceLeaveOneOut,
        Vimco,
        GumbelSoftmax,
        StraightThrough,
        Relax,
        Disarm,
    )
}


def build_estimator(name: str, **options) -> Estimator:
    """A new estimator.

    Args:
        name: a name in `ESTIMATORS`.
        options: what any of them takes, by the names of the keys of a model's config (`config_options` of each class); those
            that are not this one's are left aside, so that a config of one estimator serves for another.

    Raises:
        ValueError: there is no estimator of that name.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"Unknown estimator {name!r}: choose one of {', '.join(map(repr, ESTIMATORS))}.")
    estimator = ESTIMATORS[name]
    return estimator(**{argument: options[key] for key, argument in estimator.config_options.items() if key in options})


__all__ = [
    "ESTIMATORS",
    "TEMPERATURE_SCHEDULES",
    "BestDraws",
    "Disarm",
    "DoublyReparameterized",
    "Draws",
    "Estimator",
    "Exact",
    "ExactTopK",
    "GumbelSoftmax",
    "Reinforce",
    "ReinforceLearned",
    "ReinforceLeaveOneOut",
    "ReinforceMovingAverage",
    "ReinforceSelfCritical",
    "Relax",
    "Reparameterization",
    "ScoreFunction",
    "StraightThrough",
    "Vimco",
    "build_estimator",
    "check_temperature",
    "check_temperature_schedule",
    "draw_best",
    "temperature_at",
]
