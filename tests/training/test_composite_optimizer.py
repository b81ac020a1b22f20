"""Optimizers of parts as one: against the same optimizers stepped by hand, and in training runs."""

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LambdaLR

from hf_lvm.data.batching import LengthBucketedSampler
from hf_lvm.training.composite_optimizer import CompositeOptimizer
from hf_lvm.training.noise import NoiseStream, row_generators
from hf_lvm.training.phases.learning_rate import forget_optimizer_state, scale_learning_rate
from tests.training import parts_model
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

RUN = {**parts_model.OPTIMIZERS, "max_steps": 8, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None}


def modules() -> torch.nn.ModuleList:
    torch.manual_seed(0)
    return torch.nn.ModuleList([torch.nn.Linear(5, 3), torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)])


def optimizers(layers) -> list[torch.optim.Optimizer]:
    """SGD with momentum in two groups, AdamW in two, of which one decays."""
    last = {"params": layers[2].parameters(), "lr": 0.02}
    groups = [{"params": [layers[1].weight]}, {"params": [layers[1].bias], "weight_decay": 0.3, "lr": 0.01}]
    return [
        torch.optim.SGD([{"params": layers[0].parameters()}, last], lr=0.1, momentum=0.9),
        torch.optim.AdamW(groups, lr=0.05, weight_decay=0.0),
    ]


def gradients(layers, step: int) -> None:
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
    layers[2](layers[1](layers[0](x).tanh()).tanh()).square().mean().backward()


def by_hand(steps: int) -> torch.nn.ModuleList:
    layers = modules()
    parts = optimizers(layers)
    schedules = [LambdaLR(part, lambda step: 1.0 - step / 20) for part in parts]
    for step in range(steps):
        gradients(layers, step)
        for part, schedule in zip(parts, schedules, strict=True):
            part.step(), schedule.step(), part.zero_grad()
    return layers


def as_one(steps, layers=None, optimizer=None, schedule=None, start=0):
    layers = modules() if layers is None else layers
    optimizer = CompositeOptimizer(optimizers(layers)) if optimizer is None else optimizer
    schedule = LambdaLR(optimizer, lambda step: 1.0 - step / 20) if schedule is None else schedule
    for step in range(start, steps):
        gradients(layers, step)
        optimizer.step(), schedule.step(), optimizer.zero_grad()
    return layers, optimizer, schedule


def assert_equal(one, other):
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_as_one_they_step_as_they_do_by_hand():
    layers, optimizer, _ = as_one(9)
    assert_equal(layers, by_hand(9))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.055, 0.011, 0.0275, 0.0055])
    assert all(parameter.grad is None for parameter in layers.parameters())


@pytest.mark.parametrize("is_prepared", [False, True])
def test_what_was_saved_goes_on_bit_for_bit(tmp_path, is_prepared):
    layers, optimizer, schedule = as_one(4)
    torch.save([layers.state_dict(), optimizer.state_dict(), schedule.state_dict()], tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = modules()
    optimizer = CompositeOptimizer(optimizers(resumed))
    if is_prepared:
        optimizer = Accelerator(cpu=True).prepare(optimizer)
    schedule = LambdaLR(optimizer, lambda step: 1.0 - step / 20)
    for holder, state in zip((resumed, optimizer, schedule), saved, strict=True):
        holder.load_state_dict(state)
    as_one(9, resumed, optimizer, schedule, start=4)
    assert_equal(resumed, by_hand(9))


def test_a_copy_by_pickle_is_an_optimizer_of_its_own():
    layers, optimizer, _ = as_one(3)
    _, other = pickle.loads(pickle.dumps((layers, optimizer)))
    assert [type(part) for part in other.parts] == [torch.optim.SGD, torch.optim.AdamW]
    other.param_groups[0]["lr"] = 7.0
    assert other.parts[0].param_groups[0]["lr"] == 7.0 and optimizer.param_groups[0]["lr"] != 7.0
    assert len(other.state) == len(optimizer.state) == 6


def test_state_is_saved_in_the_form_of_a_single_optimizer():
    _, optimizer, _ = as_one(2)
    saved = optimizer.state_dict()
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2, 3], [4], [5]]
    assert [sorted(saved["state"][number]) for number in (0, 5)] == [["momentum_buffer"], ["exp_avg", "exp_avg_sq", "step"]]
    with pytest.raises(ValueError, match="has 3 groups of parameters and this one 4"):
        optimizer.load_state_dict({**saved, "param_groups": saved["param_groups"][1:]})


def test_rates_are_scaled_and_moments_forgotten_in_every_part():
    layers, optimizer, schedule = as_one(2)
    before = [group["lr"] for group in optimizer.param_groups]
    scale_learning_rate(optimizer, schedule, 0.5)
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [rate / 2 for rate in before]
    forget_optimizer_state(optimizer, [layers[1].weight, layers[0].bias])
    assert len(optimizer.state) == 4 and layers[1].weight not in optimizer.parts[1].state
    optimizer.state[layers[1].weight] = copy.copy(optimizer.state[layers[1].bias])
    assert layers[1].weight in optimizer.parts[1].state
    forget_optimizer_state(optimizer, list(optimizer.state))
    assert not optimizer.state and not optimizer.parts[0].state and layers[0].bias not in optimizer.state


def test_a_closure_is_evaluated_once_and_groups_can_be_added():
    layers, calls = modules(), []
    optimizer = CompositeOptimizer(optimizers(layers)[1:])
    optimizer.add_param_group({"params": layers[0].parameters(), "lr": 0.5})
    assert len(optimizer.param_groups) == 3 and optimizer.parts[0].param_groups[2]["lr"] == 0.5

    def closure():
        calls.append(1)
        gradients(layers, 0)
        return torch.tensor(3.0)

    assert optimizer.step(closure) == 3.0 and calls == [1]
    with pytest.raises(ValueError, match="more than one parameter group"):
        CompositeOptimizer([optimizer, *optimizers(layers)[1:]])


def test_float16_scales_of_a_gradient_scaler_reach_all_parts():
    layers, scaler = modules(), torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer = CompositeOptimizer(optimizers(layers))
    for step in range(4):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
        scaler.scale(layers[2](layers[1](layers[0](x).tanh()).tanh()).square().mean()).backward()
        scaler.step(optimizer), scaler.update(), optimizer.zero_grad()
    other = modules()
    parts = optimizers(other)
    for step in range(4):
        gradients(other, step)
        for part in parts:
            part.step(), part.zero_grad()
    for one, two in zip(layers.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


# ---- In a run ----


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("straight"), model=parts_model.build(), **RUN)
    trainer.train()
    return trainer


def groups(trainer) -> dict[str, tuple[str, dict]]:
    """The optimizer and the group of each parameter by name."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {
        names[id(parameter)]: (type(part).__name__, group)
        for part in trainer.optimizer.optimizer.parts
        for group in part.param_groups
        for parameter in group["params"]
    }


def test_each_part_has_its_optimizer_and_rate_and_follows_the_schedule(tmp_path):
    options = {**RUN, "max_steps": 5, "weight_decay": 0.1, "save_strategy": "no", "warmup_steps": 10}
    trainer = toy.trainer(tmp_path, model=parts_model.build(), **options)
    trainer.train()
    found = groups(trainer)
    assert found.keys() == dict(trainer.model.named_parameters()).keys()
    for name, (optimizer, group) in found.items():
        is_encoder = name.startswith(("embedding", "posterior_head"))
        rate = 0.02 if is_encoder else 0.01 if name.startswith("head") else 0.05
        assert group["lr"] == pytest.approx(rate * 5 / 10), name
        assert optimizer == ("AdamW" if is_encoder else "SGD"), name
        assert group["weight_decay"] == (0.0 if name.endswith("bias") else 0.1), name
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert logged == pytest.approx([0.005 * step for step in range(5)])


@pytest.mark.parametrize("max_grad_norm", [2.0, 0.0])
def test_a_run_steps_and_clips_as_it_is_done_by_hand(straight, tmp_path, max_grad_norm):
    run = straight
    if max_grad_norm == 0.0:
        run = toy.trainer(tmp_path, model=parts_model.build(), **{**RUN, "max_grad_norm": 0.0, "save_strategy": "no"})
        run.train()
    model = parts_model.build()
    encoder = [parameter for _, parameter in model.inference_parameters()]
    action, words = list(model.head.parameters()), [*model.decoder_embedding.parameters(), *model.injection.parameters()]
    by_hand = [
        torch.optim.SGD(words, lr=0.05),
        torch.optim.SGD(action, lr=0.01),
        torch.optim.AdamW(encoder, lr=0.02, weight_decay=0.0),
    ]
    schedules = [LambdaLR(optimizer, lambda step: 1.0 - step / 8) for optimizer in by_hand]
    order = [*LengthBucketedSampler(run.train_dataset["length"], 8, run.args.seed)]
    logged = [entry for entry in run.state.log_history if "loss" in entry]
    model.train()
    for step in range(6):  # an epoch
        rows = run.train_dataset.select(order[8 * step : 8 * step + 8])
        generators = row_generators(run.args.seed, NoiseStream.LATENTS, step, range(8))
        model(**toy.collate(list(rows)), generator=generators).loss.backward()
        norm_of_others = torch.nn.utils.clip_grad_norm_(words + action, max_grad_norm or math.inf)
        norm_of_encoder = torch.nn.utils.clip_grad_norm_(encoder, 0.5)
        assert logged[step]["grad_norm"] == pytest.approx(norm_of_others.item(), rel=1e-6)
        assert logged[step]["encoder_grad_norm"] == norm_of_encoder.item()
        assert norm_of_others > 2.0 and norm_of_encoder > 0.5
        for optimizer, schedule in zip(by_hand, schedules, strict=True):
            optimizer.step(), schedule.step(), optimizer.zero_grad()
        if run is straight:
            saved = load_file(Path(run.args.output_dir, f"checkpoint-{step + 1}", "model.safetensors"))
            for name, weight in model.state_dict().items():
                torch.testing.assert_close(saved[name], weight, rtol=0, atol=0, msg=f"{name} after step {step + 1}")


def test_a_run_resumes_bit_for_bit(straight, tmp_path):
    assert_resumes_exactly(straight, tmp_path, [3, 7], build=parts_model.build, **RUN)


@pytest.mark.parametrize("part", ["adagrad", "rmsprop", "adafactor"])
def test_other_optimizers_can_be_parts(tmp_path, part):
    pair = {"optim": part, "encoder_optim": "sgd", "learning_rate": 0.01, "encoder_learning_rate": None}
    for options in (pair, {**pair, "optim": "sgd", "encoder_optim": part}):
        trainer = toy.trainer(tmp_path, model=parts_model.build(), **{**RUN, **options, "max_steps": 2, "save_steps": 2})
        trainer.train()
        assert all(rate[1]["lr"] >= 0.0 for rate in groups(trainer).values())
        before = parts_model.build().state_dict()
        for name, parameter in trainer.model.named_parameters():
            assert not torch.equal(parameter, before[name]), name
