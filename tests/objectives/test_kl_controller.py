"""The target-KL controller on simulated trainings, whose KL answers to the weight with some delay."""

import json
import math

import pytest

from hf_lvm.objectives import TargetKLController


def simulate(controller: TargetKLController, steps: int, *, response, kl: float = 0.0, inertia: float = 0.9) -> list[float]:
    """KL after each step of a training that moves a tenth of the way to `response(weight)`; the weight stays in its bounds."""
    history = []
    for _ in range(steps):
        kl = inertia * kl + (1 - inertia) * response(controller.weight)
        weight = controller.update(kl)
        assert weight == controller.weight and controller.minimum <= weight <= controller.maximum
        history.append(kl)
    return history


def response(weight: float) -> float:
    return 60.0 * math.exp(-4.0 * weight)


@pytest.mark.parametrize("options", [{}, {"start": 1.0}, {"minimum": 0.2, "maximum": 0.9}, {"proportional_gain": 0.0}])
def test_it_brings_the_kl_to_the_target_from_everywhere(options):
    controller = TargetKLController(8.0, integral_gain=0.0005, **options)
    history = simulate(controller, 3000, response=response)
    assert history[-1] == pytest.approx(8.0, abs=0.01)
    assert controller.weight == pytest.approx(math.log(60 / 8) / 4, abs=1e-3)
    assert history[0] < 8 - 1 and max(abs(kl - 8) for kl in history[-500:]) < 0.1


def test_its_steps_are_those_of_the_paper():
    controller = TargetKLController(5.0, proportional_gain=0.02, integral_gain=0.001, start=0.5)
    integral = 0.49
    for kl in (9.0, 4.0, 5.5):
        integral -= 0.001 * (5.0 - kl)
        assert controller.update(kl) == pytest.approx(integral + 0.02 / (1 + math.exp(5.0 - kl)), rel=1e-12)


def test_a_target_out_of_reach_holds_an_end_and_leaves_nothing_to_unlearn():
    controller = TargetKLController(8.0, integral_gain=0.001)
    simulate(controller, 5000, response=lambda weight: 50.0)
    assert controller.weight == controller.maximum
    # The KL falls below the target: the weight has left its end a few steps later, not 5,000.
    simulate(controller, 20, response=lambda weight: 0.0, inertia=0.0)
    assert controller.weight < 0.9
    simulate(controller, 5000, response=lambda weight: 0.0)
    assert controller.weight == pytest.approx(controller.minimum, abs=1e-4)
    simulate(controller, 20, response=lambda weight: 20.0, inertia=0.0)
    assert controller.weight > 0.1


def test_it_goes_on_from_a_checkpoint_exactly():
    whole = TargetKLController(8.0)
    history = simulate(whole, 300, response=response)
    first = TargetKLController(8.0)
    simulate(first, 120, response=response)
    second = TargetKLController(8.0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert simulate(second, 180, response=response, kl=history[119]) == history[120:]
    assert second.weight == whole.weight


def test_refusals():
    state = TargetKLController(8.0).state_dict()
    with pytest.raises(ValueError, match=r"target=4.0, the one to go on from with target=8.0"):
        TargetKLController(4.0).load_state_dict(state)
    with pytest.raises(ValueError, match="holds .*'integral'.* but this one \\['weight'\\]"):
        TargetKLController(8.0).load_state_dict({"weight": 0.3})
    for target in (-1.0, 0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            TargetKLController(target)
    with pytest.raises(ValueError, match="between 0.5 and 0.5"):
        TargetKLController(8.0, minimum=0.5, maximum=0.5)
    with pytest.raises(ValueError, match="integral_gain 0"):
        TargetKLController(8.0, integral_gain=0.0)
    with pytest.raises(ValueError, match="start is 2"):
        TargetKLController(8.0, start=2.0)
    for kl in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"The KL is {kl}: the training has diverged"):
            TargetKLController(8.0).update(kl)
