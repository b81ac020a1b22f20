import math

import pytest

from hf_lvm.objectives import KL_SCHEDULES, kl_weight


def weights_of(schedule: str, steps: int, **options) -> list[float]:
    return [kl_weight(schedule, step, **options) for step in range(steps)]


def test_constant_is_the_bound_itself_at_every_step():
    assert [kl_weight("constant", step, start=0.2, warmup_steps=50) for step in (0, 10, 1000)] == [1, 1, 1]


def test_linear_rises_from_its_start_to_one_and_stays():
    assert weights_of("linear", 7, start=0.2, warmup_steps=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
    assert kl_weight("linear", 0, start=0.0, warmup_steps=0) == 1
    assert kl_weight("linear", 0, start=0.0, warmup_steps=10) == 0


def test_sigmoid_is_the_logistic_function_of_the_step():
    for step in (0, 1000, 2500, 4000, 9000):
        expected = 1 / (1 + math.exp(-0.0025 * (step - 2500)))
        assert kl_weight("sigmoid", step, midpoint=2500, steepness=0.0025) == pytest.approx(expected, rel=1e-12)
        assert kl_weight("sigmoid", step, warmup_steps=5000) == pytest.approx(expected, rel=1e-12)
        assert kl_weight("sigmoid", step, warmup_steps=5000, start=0.1) == pytest.approx(0.1 + 0.9 * expected)
    assert kl_weight("sigmoid", 10**9, warmup_steps=10) == 1 and kl_weight("sigmoid", 0, midpoint=1e9, steepness=1) == 0


def test_cyclical_schedules_rise_in_each_cycle_and_stay_for_its_rest():
    options = {"total_steps": 16, "cycles": 2, "cycle_ratio": 0.5}
    assert weights_of("cyclical_linear", 16, **options) == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2
    cosine = [(1 - math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    assert weights_of("cyclical_cosine", 16, **options) == pytest.approx([*cosine, 1, 1, 1, 1] * 2)
    assert weights_of("cyclical_linear", 4, start=0.1, total_steps=4, cycles=1) == pytest.approx([0.1, 0.55, 1, 1])
    full = weights_of("cyclical_linear", 6, total_steps=6, cycles=2, cycle_ratio=1.0)
    assert full == pytest.approx([0, 1 / 3, 2 / 3] * 2)


@pytest.mark.parametrize("schedule", ["cyclical_linear", "cyclical_cosine"])
@pytest.mark.parametrize(("total_steps", "cycles"), [(40, 4), (43, 4), (1001, 7), (13, 4), (5, 5)])
def test_the_last_cycle_ends_with_the_training(schedule, total_steps, cycles):
    weights = weights_of(schedule, total_steps, start=0.1, total_steps=total_steps, cycles=cycles)
    begun = [step for step, weight in enumerate(weights) if weight == pytest.approx(0.1)]
    lengths = [end - begin for begin, end in zip(begun, [*begun[1:], total_steps], strict=True)]
    assert begun[0] == 0 and len(begun) == cycles and max(lengths) - min(lengths) <= 1
    if min(lengths) > 1:  # a cycle of one step is its beginning
        assert weights[-1] == 1 and all(weights[step - 1] == 1 for step in begun[1:])
    assert kl_weight(schedule, total_steps, total_steps=total_steps, cycles=cycles) == 1


def test_linear_is_at_one_when_a_warmup_as_long_as_the_training_ends():
    weights = weights_of("linear", 51, warmup_steps=50)
    assert weights[49] == pytest.approx(0.98) and weights[50] == 1


@pytest.mark.parametrize("schedule", KL_SCHEDULES)
@pytest.mark.parametrize("end", [0.25, 4.0])
def test_a_schedule_rises_to_its_end(schedule, end):
    options = {"warmup_steps": 4, "total_steps": 12, "cycles": 2}
    weights = weights_of(schedule, 12, start=0.1, end=end, **options)
    shares = weights_of(schedule, 12, **options)
    assert weights == pytest.approx([0.1 + (end - 0.1) * share for share in shares] if schedule != "constant" else [end] * 12)
    assert weights[-1] == pytest.approx(end)


@pytest.mark.parametrize("schedule", KL_SCHEDULES)
def test_a_schedule_is_a_function_of_the_step(schedule):
    options = {"start": 0.1, "warmup_steps": 7, "total_steps": 12}
    forwards = weights_of(schedule, 12, **options)
    assert [kl_weight(schedule, step, **options) for step in reversed(range(12))] == forwards[::-1]
    assert all(0 <= weight <= 1 for weight in forwards)


@pytest.mark.parametrize(
    ("schedule", "options", "said"),
    [
        ("cosine", {}, "Unknown kl_schedule 'cosine': choose one of 'constant', 'linear'"),
        ("linear", {"end": 0.0}, "end is 0.0"),
        ("linear", {"start": 0.5, "end": 0.25}, "begins between 0 and 0.25"),
        ("cyclical_linear", {}, "divides the training into cycles: pass total_steps"),
        ("cyclical_linear", {"total_steps": 3}, "4 cycles do not fit into total_steps=3"),
        ("cyclical_linear", {"total_steps": 9, "cycles": 0}, "cycles is 0"),
        ("cyclical_cosine", {"total_steps": 9, "cycle_ratio": 0.0}, "cycle_ratio is 0.0"),
        ("cyclical_cosine", {"total_steps": 9, "cycle_ratio": 1.5}, "cycle_ratio is 1.5"),
        ("sigmoid", {"midpoint": 10}, "'sigmoid' needs warmup_steps, or both midpoint and steepness"),
        ("sigmoid", {"midpoint": 10, "steepness": -1}, "steepness is -1"),
        ("linear", {"start": 1.5}, "start is 1.5"),
        ("linear", {"warmup_steps": -1}, "warmup_steps is -1"),
    ],
)
def test_refusals(schedule, options, said):
    with pytest.raises(ValueError, match=said):
        kl_weight(schedule, 0, **options)
