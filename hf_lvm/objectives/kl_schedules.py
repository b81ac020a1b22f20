"""KL schedules: the weight of the KL term as a function of the global step (Bowman et al. 2015, section 3.1).

With r in [0, 1] the share of a rise that has passed, every schedule that rises goes from `start` to `end` by
start + (end - start) * shape(r). An `end` of 1 is the evidence lower bound; another one the beta of Higgins et al. (2017).

| name               | rise                                        | shape(r)               | afterwards                   |
|--------------------|---------------------------------------------|------------------------|------------------------------|
| `constant`         | none: `end` at every step                   |                        |                              |
| `linear`           | steps 0 to `warmup_steps`                   | r                      | `end`                        |
| `sigmoid`          | around step `midpoint`                      | 1 / (1 + exp(-k(t-m))) | goes on towards `end`        |
| `cyclical_linear`  | the first `cycle_ratio` of each of `cycles` | r                      | `end` until the cycle is over |
| `cyclical_cosine`  | the same                                    | (1 - cos(pi r)) / 2    | `end` until the cycle is over |

A schedule is a pure function of the step, so a resumed run continues exactly where it was. To add one, write the
function and name it in `KL_SCHEDULES`. A weight that follows the measured KL instead is
`hf_lvm.objectives.kl_controller`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Plan:
    """The settings of a schedule, as `kl_weight` takes them."""

    start: float
    end: float
    warmup_steps: int
    total_steps: int | None
    cycles: int
    cycle_ratio: float
    midpoint: float | None
    steepness: float | None

    def rise(self, share: float) -> float:
        return self.start + (self.end - self.start) * share


def constant(step: int, plan: _Plan) -> float:
    """Weight `end` at every step; at 1 the evidence lower bound itself from the beginning."""
    return plan.end


def linear(step: int, plan: _Plan) -> float:
    """From `start` at step 0 in a straight line to `end` at `warmup_steps`, then `end`."""
    if step >= plan.warmup_steps:
        return plan.end
    return plan.rise(step / plan.warmup_steps)


def sigmoid(step: int, plan: _Plan) -> float:
    """A logistic curve, here from 0 to 1: 1 / (1 + exp(-steepness * (step - midpoint))) (Bowman et al. 2015, figure 2).

    Without `midpoint` it is half of `warmup_steps`, without `steepness` 12.5 / `warmup_steps`: the curve is then at 0.002
    at step 0 and at 0.998 at `warmup_steps`. 5,000 warm-up steps give the midpoint 2,500 and the steepness 0.0025 that
    implementations of Bowman's model commonly use.
    """
    midpoint = plan.warmup_steps / 2 if plan.midpoint is None else plan.midpoint
    steepness = 12.5 / plan.warmup_steps if plan.steepness is None else plan.steepness
    # The logistic function by its hyperbolic tangent: no overflow far from the midpoint.
    return plan.rise(0.5 + 0.5 * math.tanh(0.5 * steepness * (step - midpoint)))


def cyclical_linear(step: int, plan: _Plan) -> float:
    """The linear rise started again in every cycle (Fu et al. 2019; their `frange_cycle_linear`, step by step)."""
    return plan.rise(_share_of_cycle(step, plan))


def cyclical_cosine(step: int, plan: _Plan) -> float:
    """Half a cosine wave for the rise, gentle at both ends (Fu et al. 2019; their `frange_cycle_cosine` for `start` 0)."""
    return plan.rise(0.5 - 0.5 * math.cos(math.pi * _share_of_cycle(step, plan)))


def _share_of_cycle(step: int, plan: _Plan) -> float:
    """How much of the current cycle's rise has passed, in [0, 1]. Cycle c begins at step floor(c * total_steps / cycles)."""
    if step >= plan.total_steps:
        return 1.0
    # In whole numbers: a cycle that began one step late by rounding would leave the last one unfinished.
    cycle = ((step + 1) * plan.cycles - 1) // plan.total_steps
    begun = cycle * plan.total_steps // plan.cycles
    return min(1.0, (step - begun) * plan.cycles / (plan.total_steps * plan.cycle_ratio))


KL_SCHEDULES: dict[str, Callable[[int, _Plan], float]] = {
    "constant": constant,
    "linear": linear,
    "sigmoid": sigmoid,
    "cyclical_linear": cyclical_linear,
    "cyclical_cosine": cyclical_cosine,
}


def kl_weight(
    schedule: str,
    step: int,
    *,
    start: float = 0.0,
    end: float = 1.0,
    warmup_steps: int = 0,
    total_steps: int | None = None,
    cycles: int = 4,
    cycle_ratio: float = 0.5,
    midpoint: float | None = None,
    steepness: float | None = None,
) -> float:
    """The weight of the KL term at a global step.

    Args:
        schedule: a name in `KL_SCHEDULES`.
        step: optimizer steps done so far, counted from 0 (or from the end of an autoencoder warm-up).
        start: weight at step 0 and, in a cyclical schedule, at the beginning of every cycle; the value far before the
            midpoint of a sigmoid.
        end: weight that a rise ends at, and that `constant` has.
        warmup_steps: steps until the weight of `linear` is `end`; see `sigmoid` for what it means there.
        total_steps: steps that a cyclical schedule divides into cycles, counted from the same moment as `step`: the
            steps of the whole training less those of an autoencoder warm-up. At step `total_steps - 1` the last cycle
            ends; past it the weight is `end`.
        cycles: how many cycles; their lengths differ by one step at most.
        cycle_ratio: the share of a cycle that rises. At 1 a cycle ends one step short of `end`.
        midpoint: step at which a sigmoid has risen by half.
        steepness: of a sigmoid, per step; at the midpoint the weight rises by steepness / 4 a step.

    Raises:
        ValueError: the schedule has no such name, or a setting it needs is missing or not allowed.
    """
    check_kl_schedule(schedule)
    check_kl_weights(start, end)
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps is {warmup_steps}; it is 0 or more.")
    plan = _Plan(start, end, warmup_steps, total_steps, cycles, cycle_ratio, midpoint, steepness)
    if schedule.startswith("cyclical"):
        _check_cycles(schedule, plan)
    if schedule == "sigmoid":
        _check_sigmoid(plan)
    return KL_SCHEDULES[schedule](step, plan)


def check_kl_schedule(schedule: str) -> None:
    """Raise a `ValueError` that lists the schedules there are when `schedule` is none of them."""
    if schedule not in KL_SCHEDULES:
        raise ValueError(f"Unknown kl_schedule {schedule!r}: choose one of {', '.join(map(repr, KL_SCHEDULES))}.")


def check_kl_weights(start: float, end: float, prefix: str = "") -> None:
    """Raise a `ValueError` when a schedule cannot rise from one to the other; `prefix` stands before their names in it."""
    if not (end > 0.0 and math.isfinite(end)):
        raise ValueError(f"{prefix}end is {end}; the KL weight that a run ends with is above 0, and 1 is the bound.")
    if not 0.0 <= start <= end:
        raise ValueError(f"{prefix}start is {start}; a KL weight that rises to {end:g} begins between 0 and {end:g}.")


def _check_cycles(schedule: str, plan: _Plan) -> None:
    if plan.total_steps is None:
        raise ValueError(f"kl_schedule {schedule!r} divides the training into cycles: pass total_steps, its length.")
    if plan.cycles < 1 or plan.cycles != int(plan.cycles):
        raise ValueError(f"cycles is {plan.cycles}; give a whole number, 1 or more.")
    if plan.total_steps < plan.cycles:
        raise ValueError(
            f"{plan.cycles} cycles do not fit into total_steps={plan.total_steps}: train longer, or ask for fewer cycles."
        )
    if not 0.0 < plan.cycle_ratio <= 1.0:
        raise ValueError(f"cycle_ratio is {plan.cycle_ratio}; it is the share of a cycle that rises, above 0 and up to 1.")


def _check_sigmoid(plan: _Plan) -> None:
    if plan.warmup_steps == 0 and (plan.midpoint is None or plan.steepness is None):
        raise ValueError("kl_schedule 'sigmoid' needs warmup_steps, or both midpoint and steepness.")
    if plan.steepness is not None and not plan.steepness > 0.0:
        raise ValueError(f"steepness is {plan.steepness}; a KL weight that rises needs one above 0.")
