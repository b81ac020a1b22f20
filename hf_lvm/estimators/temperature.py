"""The temperature of relaxed samples, and how it falls during training."""

import math

TEMPERATURE_SCHEDULES = ("constant", "linear", "exponential")


def check_temperature(temperature: float) -> None:
    """Raise a `ValueError` unless the temperature is positive and finite."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f"A temperature of relaxed samples must be positive, but is {temperature}: 1 is usual, and .3 already close to "
            "discrete samples with a noisy gradient."
        )


def check_temperature_schedule(schedule: str, start: float, end: float | None) -> None:
    """Raise a `ValueError` for a schedule that does not exist, or temperatures that do not go with it."""
    if schedule not in TEMPERATURE_SCHEDULES:
        raise ValueError(
            f"Unknown temperature_schedule {schedule!r}: choose one of {', '.join(map(repr, TEMPERATURE_SCHEDULES))}."
        )
    check_temperature(start)
    if schedule == "constant":
        if end is not None and end != start:
            raise ValueError(
                f"temperature_schedule 'constant' stays at {start:g} and has no use for a temperature_end of {end:g}: leave "
                "it out, or choose 'linear' or 'exponential'."
            )
        return
    if end is None:
        raise ValueError(f"temperature_schedule {schedule!r} needs a temperature_end to arrive at.")
    check_temperature(end)


def temperature_at(step: int, total_steps: int, *, schedule: str, start: float, end: float | None = None) -> float:
    """The temperature of an optimizer step, from `start` at step 0 to `end` at `total_steps` and after.

    `linear` takes away equal amounts, `exponential` (Jang et al. 2017, section 4.1) equal shares.

    Args:
        step: 0, 1, ...
        total_steps: length of the way, at least 1.
    """
    check_temperature_schedule(schedule, start, end)
    if schedule == "constant":
        return start
    if total_steps < 1:
        raise ValueError(f"A temperature falls over 1 step or more, but got total_steps {total_steps}.")
    done = min(step / total_steps, 1.0)
    if schedule == "linear":
        return start + (end - start) * done
    return start * (end / start) ** done
