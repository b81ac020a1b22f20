import pytest

from hf_lvm.objectives import KL_SCHEDULES, kl_weight


def test_constant_is_the_bound_itself_at_every_step():
    assert [kl_weight("constant", step, start=0.2, warmup_steps=50) for step in (0, 10, 1000)] == [1, 1, 1]


def test_linear_rises_from_its_start_to_one_and_stays():
    weights = [kl_weight("linear", step, start=0.2, warmup_steps=4) for step in range(7)]
    assert weights == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])
    assert kl_weight("linear", 0, start=0.0, warmup_steps=0) == 1
    assert kl_weight("linear", 0, start=0.0, warmup_steps=10) == 0


@pytest.mark.parametrize("schedule", KL_SCHEDULES)
def test_a_schedule_is_a_function_of_the_step(schedule):
    options = {"start": 0.1, "warmup_steps": 7}
    forwards = [kl_weight(schedule, step, **options) for step in range(12)]
    assert [kl_weight(schedule, step, **options) for step in reversed(range(12))] == forwards[::-1]
    assert all(0 <= weight <= 1 for weight in forwards)


def test_unknown_schedule():
    with pytest.raises(ValueError, match="Unknown kl_schedule 'cosine': choose one of 'constant', 'linear'"):
        kl_weight("cosine", 0)
