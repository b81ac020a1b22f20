"""KL schedules: the weight of the KL term as a function of the global step (Bowman et al. 2015, section 3.1).

A schedule is a pure function of the step, so a resumed run continues exactly where it was. To add one, write the
function and name it in `KL_SCHEDULES`.
"""

from collections.abc import Callable


def constant(step: int, *, start: float, warmup_steps: int) -> float:
    """Weight 1 at every step: the evidence lower bound itself from the beginning."""
    return 1.0


def linear(step: int, *, start: float, warmup_steps: int) -> float:
    """From `start` at step 0 in a straight line to 1 at `warmup_steps`, then 1."""
    if step >= warmup_steps:
        return 1.0
    return start + (1.0 - start) * step / warmup_steps


KL_SCHEDULES: dict[str, Callable[..., float]] = {"constant": constant, "linear": linear}


def kl_weight(schedule: str, step: int, *, start: float = 0.0, warmup_steps: int = 0) -> float:
    """The weight of the KL term at a global step.

    Args:
        schedule: a name in `KL_SCHEDULES`.
        step: optimizer steps done so far, counted from 0 (or from the end of an autoencoder warm-up).
        start: weight at step 0, for schedules that rise.
        warmup_steps: steps until the weight is 1, for schedules that rise.

    Raises:
        ValueError: the schedule has no such name.
    """
    check_kl_schedule(schedule)
    return KL_SCHEDULES[schedule](step, start=start, warmup_steps=warmup_steps)


def check_kl_schedule(schedule: str) -> None:
    """Raise a `ValueError` that lists the schedules there are when `schedule` is none of them."""
    if schedule not in KL_SCHEDULES:
        raise ValueError(f"Unknown kl_schedule {schedule!r}: choose one of {', '.join(map(repr, KL_SCHEDULES))}.")
