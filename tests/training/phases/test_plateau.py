"""The plateau rule: first on losses written down, then in training runs, stopped and resumed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState

from hf_lvm.training.composite_optimizer import CompositeOptimizer
from hf_lvm.training.phases.learning_rate import scale_learning_rate
from hf_lvm.training.phases.plateau import PlateauCallback
from tests.training import parts_model
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

# Adam at a rate so large that the bound of the validation set comes and goes.
RUN = {
    "optim": "adamw_torch", "learning_rate": 0.3, "lr_scheduler_type": "constant", "num_train_epochs": 20,
    "eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": None, "plateau_patience": 1,
    "plateau_first_epoch": 1, "plateau_max_decays": 3, "train": toy.corpus(32),
}  # fmt: skip


def rule(tmp_path, losses, *, max_steps=1000, reloads=None, **options):
    """What the callback does with one evaluation an epoch of 10 steps: the epochs of its decays, the one it stopped in.

    `reloads` gets the epochs in which it went back to the best model. By default it must do so at each decay.
    """
    args = toy.trainer(tmp_path, evaluation=toy.corpus(8), **{**RUN, "plateau_max_decays": 5, **options}).args
    reloads = [] if reloads is None else reloads
    decays = []
    callback = PlateauCallback(args, load_best=lambda: reloads.append(epoch))
    parts = [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)]
    parts.append(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1))
    optimizer = CompositeOptimizer(parts)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    state, control = TrainerState(max_steps=max_steps, best_model_checkpoint="best"), TrainerControl()
    callback.on_train_begin(args, state, control)
    for epoch, loss in enumerate(losses):
        state.epoch, state.global_step = float(epoch + 1), 10 * (epoch + 1)
        before = optimizer.param_groups[0]["lr"]
        callback.on_evaluate(args, state, control, {"eval_loss": loss}, optimizer, scheduler)
        decays += [epoch] if optimizer.param_groups[0]["lr"] < before else []
        optimizer.step(), scheduler.step()
        if control.should_training_stop:
            break
    assert parts[0].param_groups[0]["lr"] == scheduler.get_last_lr()[0] == 0.5 ** len(decays)
    assert parts[1].param_groups[0]["lr"] == scheduler.get_last_lr()[1] == 0.1 * 0.5 ** len(decays)
    assert reloads == (decays if args.plateau_reload_best else [])
    return decays, epoch if control.should_training_stop else None


def test_the_rate_falls_after_patience_evaluations_above_the_level(tmp_path):
    losses = [9, 8, 8.1, 7, 7.2, 7.1, 7.0, 6.9]  # at 5 two in a row are above 7; as good as the level is good
    assert rule(tmp_path, losses, plateau_patience=2, plateau_first_epoch=0) == ([5], None)
    assert rule(tmp_path, losses, plateau_patience=3, plateau_first_epoch=0) == ([], None)


def test_after_a_decay_the_level_is_the_loss_that_caused_it(tmp_path):
    # 7.4 is above the best, 7, and below the level, 7.5. The evaluation after it is above 7.4 again.
    assert rule(tmp_path, [7, 7.5, 7.4, 7.45], plateau_first_epoch=0) == ([1, 3], None)


def test_evaluations_before_the_first_epoch_are_counted_but_change_nothing(tmp_path):
    assert rule(tmp_path, [7, 8, 8, 8, 8, 6], plateau_patience=2, plateau_first_epoch=4) == ([4], None)


def test_the_run_ends_with_the_last_decay(tmp_path):
    assert rule(tmp_path, [1, 2, 3, 4, 5], plateau_max_decays=3, plateau_first_epoch=0) == ([1, 2, 3], 3)


KIM = {
    "plateau_then_every_epoch": True, "plateau_reload_best": False, "plateau_min_learning_rate": 0.03, "learning_rate": 1.0,
    "plateau_max_decays": None,
}  # fmt: skip


def kims_rule(losses, min_epochs):
    """Epochs after which Kim et al. halve the rate, and the one their run ends with, counted from 0."""
    best, rate, decays, has_begun = float("inf"), 1.0, [], False
    for epoch, loss in enumerate(losses):
        if loss < best:
            best = loss
        elif epoch + 1 > min_epochs:
            has_begun = True
        if has_begun:
            rate /= 2
            decays.append(epoch)
        if rate < 0.03:
            return decays, epoch
    return decays, None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([9, 8, 8.5, 7, 7.5, 6, 5, 4, 3, 2, 1], ([4, 5, 6, 7, 8, 9], 9)),  # the failure at 2 comes too early
        ([9, 8, 7, 6, 5, 4, 3, 2], ([], None)),
        ([9, 8, 8.5, 8.4, 7, 6, 6.5, 5], ([3, 4, 5, 6, 7], None)),  # 8.4 is better than 8.5, and not than the best
        ([9, 8, 7, 6, float("nan"), 5], ([4, 5], None)),
    ],
)
def test_once_begun_the_rate_is_halved_after_every_epoch_until_it_is_too_small(tmp_path, losses, expected):
    assert kims_rule(losses, min_epochs=3) == expected
    reloads = []
    assert rule(tmp_path, losses, reloads=reloads, plateau_first_epoch=3, **KIM) == expected
    assert reloads == []


def test_without_going_back_the_rule_may_wait_for_each_plateau(tmp_path):
    losses, options = [7, 8, 6, 7, 8, 6, 7], {"plateau_reload_best": False, "plateau_first_epoch": 0}
    assert rule(tmp_path, losses, **options) == ([1, 3, 4, 6], None)
    assert rule(tmp_path, losses, **options, plateau_min_learning_rate=0.3 / 3) == ([1, 3], 3)
    options |= {"save_strategy": "no", "metric_for_best_model": None}  # nothing to go back to, and the loss decides
    assert rule(tmp_path, losses, **options) == ([1, 3, 4, 6], None)


def test_a_loss_that_is_not_finite_is_no_progress(tmp_path):
    assert rule(tmp_path, [7, float("nan"), 8, 6], plateau_first_epoch=0) == ([1, 2], None)


def test_evaluations_of_the_autoencoder_phase_are_left_out(tmp_path):
    losses = [1, 2, 3, 9, 9.5]  # the first three while the KL costs nothing
    assert rule(tmp_path, losses, autoencoder_warmup_steps=30, plateau_first_epoch=0) == ([4], None)
    # A run that is nothing but an autoencoder has no other evaluations.
    assert rule(tmp_path, losses, autoencoder_warmup_steps=30, plateau_first_epoch=0, max_steps=30)[0] == [1, 2, 3, 4]


def test_a_warm_up_of_the_rate_goes_on_from_the_lower_one():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 4))
    rates = []
    for step in range(6):
        if step == 2:
            scale_learning_rate(optimizer, scheduler, 0.5)
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step(), scheduler.step()
    assert rates == [0, 0.25, 0.25, 0.375, 0.5, 0.5]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("plateau"), evaluation=toy.corpus(16, seed=1), **RUN)
    trainer.train()
    return trainer


def evaluations(trainer):
    return {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}


def saved(trainer, step):
    return load_file(Path(trainer.args.output_dir, f"checkpoint-{step}", "model.safetensors"))


def test_a_decay_brings_back_the_best_weights_and_a_fresh_optimizer(straight):
    rates = {entry["step"]: entry["learning_rate"] for entry in straight.state.log_history if "loss" in entry}
    decays = [step for step in evaluations(straight) if step in rates and rates.get(step + 1, rates[step]) < rates[step]]
    assert len(decays) == 2  # the third one ends the run, so no step follows it
    for step in decays:
        assert rates[step + 1] == rates[step] / 2
        losses = {at: loss for at, loss in evaluations(straight).items() if at <= step}
        best = min(losses, key=losses.get)
        assert best < step
        optimizer = torch.load(Path(straight.args.output_dir, f"checkpoint-{step}", "optimizer.pt"))
        assert optimizer["state"] == {}
        for name, weight in saved(straight, best).items():
            assert torch.equal(weight, saved(straight, step)[name]), name


def test_the_rule_ends_the_run_with_the_best_model(straight):
    losses = evaluations(straight)
    assert straight.state.global_step < straight.state.max_steps == 80
    best = min(losses, key=losses.get)
    assert straight.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert all(torch.equal(weight, saved(straight, best)[name]) for name, weight in straight.model.state_dict().items())


def test_a_run_resumed_across_a_decay_ends_bit_for_bit_like_the_straight_one(straight, tmp_path):
    run = Path(straight.args.output_dir)
    steps = sorted(evaluations(straight))
    for step in [steps[0], steps[1], steps[-1]]:  # before a decay, right at one, and at the end, with nothing left to do
        torch.manual_seed(99)
        resumed = toy.trainer(tmp_path / str(step), evaluation=toy.corpus(16, seed=1), model=toy.build(seed=5), **RUN)
        resumed.train(resume_from_checkpoint=str(run / f"checkpoint-{step}"))
        assert evaluations(resumed) == evaluations(straight)
        for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(one, other)
        assert resumed.lr_scheduler.get_last_lr() == straight.lr_scheduler.get_last_lr()
        assert resumed._plateau.state() == straight._plateau.state()


def test_a_moved_run_finds_its_best_checkpoint(straight, tmp_path):
    first = toy.trainer(tmp_path / "here", evaluation=toy.corpus(16, seed=1), **{**RUN, "num_train_epochs": 3})
    first.train()
    (tmp_path / "here").rename(tmp_path / "there")
    resumed = toy.trainer(tmp_path / "there", evaluation=toy.corpus(16, seed=1), **RUN)
    resumed.train(resume_from_checkpoint=True)
    assert evaluations(resumed) == evaluations(straight)


def test_the_best_model_is_none_of_the_autoencoder_phase(tmp_path):
    # The rate of 0 makes all evaluations alike: without a new beginning the first one would stay the best.
    options = {**RUN, "learning_rate": 0.0, "autoencoder_warmup_steps": 8, "num_train_epochs": 4, "plateau_patience": 0}
    trainer = toy.trainer(tmp_path, evaluation=toy.corpus(16, seed=1), **options)
    trainer.train()
    assert trainer.state.best_global_step == 12
    resumed = toy.trainer(tmp_path / "resumed", evaluation=toy.corpus(16, seed=1), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert resumed.state.best_global_step == 12


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save_strategy": "no"}, ["evaluate and save at the same moments"]),
        ({"load_best_model_at_end": False}, ["load_best_model_at_end: true"]),
        ({"lr_scheduler_type": "linear"}, ["lr_scheduler_type is 'linear'", "constant or constant_with_warmup"]),
        ({"plateau_factor": 1.0}, ["plateau_factor is 1.0"]),
        ({"plateau_patience": -1}, ["plateau_patience is -1"]),
        ({"plateau_max_decays": 0}, ["plateau_max_decays is 0"]),
        ({"plateau_first_epoch": -1}, ["plateau_first_epoch is -1"]),
        ({"optim": "adagrad"}, ["adagrad"]),
        ({"encoder_optim": "adagrad"}, ["adagrad"]),
        ({"plateau_then_every_epoch": True}, ["plateau_reload_best: false"]),
        (
            {**KIM, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no", "load_best_model_at_end": False},
            ["eval_strategy: epoch"],
        ),
        ({"plateau_min_learning_rate": 0.3}, ["plateau_min_learning_rate is 0.3 and learning_rate 0.3", "between 0 and"]),
        ({"plateau_min_learning_rate": 0.0}, ["plateau_min_learning_rate is 0.0"]),
        ({"plateau_reload_best": False, "eval_strategy": "no"}, ["set eval_strategy to epoch or steps"]),
        ({"plateau_reload_best": False, "lr_scheduler_type": "linear"}, ["lr_scheduler_type is 'linear'"]),
        (
            {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 4},
            ["eval_steps is 2 and save_steps 4"],
        ),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_the_way_out(tmp_path, options, expected):
    with pytest.raises(ValueError) as error:
        toy.trainer(tmp_path, evaluation=toy.corpus(8), **{**RUN, **options})
    for part in expected:
        assert part in str(error.value)


def test_a_run_by_the_rule_of_kim_et_al_resumes_bit_for_bit(tmp_path):
    options = {
        **RUN, **parts_model.OPTIMIZERS, **KIM, "lr_scheduler_type": "constant", "num_train_epochs": 12,
        "encoder_epochs": 1.0, "save_total_limit": None,
    }  # fmt: skip
    folder = tmp_path / "straight"
    run = toy.trainer(folder, evaluation=toy.corpus(16, seed=1), model=parts_model.build(), **options)
    run.train()
    rates = {entry["step"]: entry["learning_rate"] for entry in run.state.log_history if "loss" in entry}
    of_epochs = [rates[step] for step in sorted(rates) if step % 4 == 1]
    begin = of_epochs.index(0.5)
    assert of_epochs == [1.0] * begin + [0.5**power for power in range(1, 6)] and begin >= 1
    assert run.state.global_step < run.state.max_steps and run._plateau.decays == 6  # the sixth leaves less than 0.03
    groups = [group["lr"] for group in run.optimizer.param_groups if group["params"]]
    assert groups == [rate * 0.5**6 for rate in (1.0, 1.0, 0.01, 0.01, 0.02, 0.02)]
    # In the phase, and at its end, where nothing is left to do. The best model is loaded at the end.
    steps = [4 * (begin + 2), run.state.global_step]
    assert_resumes_exactly(run, tmp_path, steps, build=parts_model.build, evaluation=toy.corpus(16, seed=1), **options)
    best = saved(run, run.state.best_global_step)
    assert all(torch.equal(weight, best[name]) for name, weight in run.model.state_dict().items())


def test_settings_of_runs_from_before_a_key_are_those_without_it(tmp_path):
    args = toy.trainer(tmp_path, evaluation=toy.corpus(8), **{**RUN, "plateau_max_decays": None}).args
    settings = {key: value for key, value in args.saved_settings(80).items() if key.startswith("plateau_")}
    assert settings == {
        "plateau_patience": 1, "plateau_factor": 0.5, "plateau_first_epoch": 1, "plateau_max_decays": 5,
    }  # fmt: skip
    later = {"plateau_reload_best": False, "plateau_then_every_epoch": True, "plateau_min_learning_rate": 0.03}
    args = toy.trainer(tmp_path, evaluation=toy.corpus(8), **{**RUN, **KIM}).args
    assert args.saved_settings(80).items() >= {**later, "plateau_max_decays": None}.items()
