"""Which estimators a problem can be given to, and all of them compared on it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hf_lvm.analysis.estimator_check.check import check_estimator
from hf_lvm.analysis.estimator_check.problems import PROBLEMS, Problem
from hf_lvm.analysis.estimator_check.row import EstimatorRow
from hf_lvm.estimators import ESTIMATORS

# What learns is first given so many updates, each on so many draws.
WARM_UP = {"warm_up_draws": 100, "warm_up_steps": 200}
TEMPERATURE = 0.5
# Sets of two samples are few enough to be summed over in every problem.
K_SAMPLE_BOUND = 2

Case = tuple[str, str | None, int, dict[str, Any]]


def cases(problem: Problem, num_samples: int, estimators: Sequence[str] = ()) -> Iterator[Case]:
    """Objective, estimator, samples and options of every estimator that goes with a problem, at equal decoder calls.

    Args:
        num_samples: values of z that may be scored in a draw. `exact` scores all there are, and `vimco` two.
        estimators: names, if not all; `minimum_risk` is one of them here.

    Raises:
        ValueError: a name that is none, or that does not go with this problem.
    """
    posterior = problem.posterior(problem.start.unsqueeze(0))
    one_hot_size = getattr(posterior, "num_classes", None)
    found: dict[str, Case] = {"exact": ("elbo", "exact", 1, {}), "minimum_risk": ("minimum_risk", None, num_samples, {})}
    for name in ("reinforce", "rloo", "exact_topk"):
        found[name] = ("elbo", name, num_samples, {})
    found["reinforce_moving_average"] = ("elbo", "reinforce_moving_average", num_samples, WARM_UP)
    found["reinforce_learned"] = ("elbo", "reinforce_learned", num_samples, WARM_UP | {"feature_size": 1})
    found["reinforce_self_critical"] = ("elbo", "reinforce_self_critical", num_samples - 1, {})
    for name in ("straight_through", "gumbel_softmax"):
        found[name] = ("elbo", name, num_samples, {"temperature": TEMPERATURE})
    if one_hot_size is not None:
        sizes = {"num_variables": posterior.event_shape[0], "num_classes": one_hot_size, "temperature": TEMPERATURE}
        found["relax"] = ("elbo", "relax", num_samples, WARM_UP | sizes)
    if one_hot_size == 2:
        found["disarm"] = ("elbo", "disarm", num_samples, {})
    found["vimco"] = ("iwae", "vimco", K_SAMPLE_BOUND, {})
    unknown = [name for name in estimators if name not in ESTIMATORS and name != "minimum_risk"]
    if unknown:
        raise ValueError(f"Unknown estimator {unknown[0]!r}: choose among {', '.join(map(repr, found))}.")
    for name in estimators or sorted(found, key=[*ESTIMATORS, "minimum_risk"].index):
        if name not in found:
            raise ValueError(
                f"The estimator {name!r} does not go with the problem {problem.name!r}: choose among "
                f"{', '.join(map(repr, found))}."
            )
        yield found[name]


def compare_estimators(
    problems: Sequence[str] = tuple(PROBLEMS),
    estimators: Sequence[str] = (),
    *,
    num_samples: int = 8,
    draws: int = 20_000,
    seed: int = 0,
    on_row: Callable[[EstimatorRow], None] | None = None,
) -> list[EstimatorRow]:
    """Every estimator on every problem, by the gradient of q's parameters, which is what they differ in.

    Args:
        problems: names in `PROBLEMS`.
        estimators: names, if not all that go with a problem.
        num_samples: values of z that an estimator may score in a draw; at least 3, and even for `disarm`.
        draws: of each estimator.
        on_row: called with each row as soon as it is there.

    Raises:
        ValueError: a name that is none, or too few samples or draws.
    """
    if num_samples < 3:
        raise ValueError(f"num_samples must be at least 3, so that every estimator has samples to compare; got {num_samples}.")
    if draws < 100:
        raise ValueError(f"draws must be at least 100, or nothing can be said of a mean; got {draws}.")
    unknown = [name for name in problems if name not in PROBLEMS]
    if unknown:
        raise ValueError(f"Unknown problem {unknown[0]!r}: choose among {', '.join(map(repr, PROBLEMS))}.")
    rows = []
    for name in problems:
        problem = PROBLEMS[name]()
        for objective, estimator, samples, options in cases(problem, num_samples, estimators):
            row = check_estimator(
                problem,
                objective,
                estimator,
                samples,
                draws=100 if estimator == "exact" else draws,
                seed=seed,
                posterior_only=True,
                **options,
            )
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return rows
