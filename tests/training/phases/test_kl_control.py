"""KL weights in training runs: schedules, the controller that steers to a target, and resuming with the same or another."""

import pytest
import torch

from hf_lvm.training.arguments import LatentTrainingArguments
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

STEERED = {
    "kl_target": 2.0, "kl_integral_gain": 0.005, "kl_start": 0.1, "autoencoder_warmup_steps": 4, "max_steps": 14,
    "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
}  # fmt: skip


def steps(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("steered"), **STEERED)
    trainer.train()
    return trainer


def test_the_weight_of_a_step_follows_from_the_kl_of_the_steps_before(steered):
    logged = steps(steered)
    assert [entry["kl_weight"] for entry in logged[:5]] == [0.0] * 4 + [0.1]
    controller = steered.args.kl_controller()
    for before, entry in zip(logged[4:], logged[5:], strict=False):
        assert entry["kl_weight"] == pytest.approx(controller.update(before["kl"]), rel=1e-12)
    weights = [entry["kl_weight"] for entry in logged[4:]]
    assert len(set(weights)) == len(weights)


def test_a_steered_run_resumes_bit_for_bit(steered, tmp_path):
    assert_resumes_exactly(steered, tmp_path, [3, 4, 5, 9], **STEERED)


def test_accumulation_and_a_second_run_of_the_same_trainer_change_nothing(steered, tmp_path):
    options = {**STEERED, "save_strategy": "no", "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    pieces = toy.trainer(tmp_path, **options)
    pieces.train()
    first = [entry["kl_weight"] for entry in steps(pieces)]
    assert first == pytest.approx([entry["kl_weight"] for entry in steps(steered)], rel=1e-5)
    pieces.model.load_state_dict(toy.build().state_dict())
    pieces.train()
    assert [entry["kl_weight"] for entry in steps(pieces)] == first


def test_the_kl_goes_to_the_target(tmp_path):
    options = {"optim": "adamw_torch", "learning_rate": 0.03, "max_steps": 300, "logging_steps": 50}
    kls = {}
    for target in (3.0, 5.0):
        trainer = toy.trainer(tmp_path, kl_target=target, kl_integral_gain=0.003, **options)
        trainer.train()
        kls[target] = steps(trainer)[-1]["kl"]
    assert kls == pytest.approx({3.0: 3.0, 5.0: 5.0}, rel=0.15)


def test_cycles_fill_the_steps_that_the_warm_start_leaves(tmp_path):
    options = {"kl_schedule": "cyclical_linear", "kl_cycles": 2, "kl_cycle_ratio": 0.5, "autoencoder_warmup_steps": 2}
    trainer = toy.trainer(tmp_path, max_steps=10, **options)
    trainer.train()
    # As many steps as the schedule has: the last cycle ends with the last step.
    assert [entry["kl_weight"] for entry in steps(trainer)] == pytest.approx([0, 0, 0, 0.5, 1, 1, 0, 0.5, 1, 1])


def test_a_sigmoid_rises_by_half_at_its_midpoint(tmp_path):
    args = LatentTrainingArguments(str(tmp_path), use_cpu=True, kl_schedule="sigmoid", kl_warmup_steps=0.5)
    assert args.kl_weight_at(50, 200) == pytest.approx(0.5)
    args = LatentTrainingArguments(
        str(tmp_path), use_cpu=True, kl_schedule="sigmoid", kl_sigmoid_midpoint=0.1, kl_sigmoid_steepness=1.0
    )
    assert [args.kl_weight_at(step, 200) for step in (19, 20, 21)] == pytest.approx([0.2689, 0.5, 0.7311], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kl_target": 4.0, "kl_schedule": "linear"}, ["kl_target is 4.0", "kl_schedule 'linear'", "Leave out one"]),
        ({"kl_target": -1.0}, ["-1.0", "above 0"]),
        ({"kl_schedule": "cyclical_cosine", "kl_cycle_ratio": 0.0}, ["cycle_ratio is 0.0"]),
        ({"kl_schedule": "sigmoid"}, ["'sigmoid' needs warmup_steps"]),
        ({"reset_decoder_after_warmup": True}, ["reset_decoder_after_warmup", "set autoencoder_warmup_steps"]),
        ({"free_bits": -2.0, "free_bits_mode": "per_sentence"}, ["free_bits is -2.0", "nats in total, 0 or more"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, options, expected):
    with pytest.raises(ValueError) as error:
        LatentTrainingArguments(str(tmp_path), use_cpu=True, **options)
    for part in expected:
        assert part in str(error.value)


def saved_run(folder, **options):
    trainer = toy.trainer(folder, max_steps=2, save_strategy="steps", save_steps=2, **options)
    trainer.train()
    return str(folder / "checkpoint-2")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"kl_schedule": "linear", "kl_warmup_steps": 5}, {"kl_schedule": "linear", "kl_warmup_steps": 9},
         ["kl_warmup_steps 5 (now 9)"]),
        ({}, {"free_bits": 0.5}, ["free_bits 0.0 (now 0.5)", "free_bits_mode unset (now per_dimension)"]),
        ({"kl_schedule": "linear", "kl_warmup_steps": 0.5}, {"kl_schedule": "linear", "kl_warmup_steps": 0.5, "max_steps": 8},
         ["kl_warmup_steps 1 (now 4)"]),
        ({"word_dropout": 0.1}, {"word_dropout": 0.2}, ["word_dropout 0.1 (now 0.2)"]),
        ({}, {"aggressive": True, "evaluation": toy.corpus(8)}, ["aggressive unset (now True)", "_every unset (now 15)"]),
        ({}, {"kl_target": 3.0}, ["kl_target unset (now 3.0)"]),
        ({"learning_rate": 0.02}, {"learning_rate": 0.01}, ["learning_rate 0.02 (now 0.01)"]),
        ({"lr_scheduler_type": "constant"}, {"lr_scheduler_type": "cosine"}, ["lr_scheduler_type constant (now cosine)"]),
    ],
)  # fmt: skip
def test_a_run_does_not_go_on_by_another_schedule(tmp_path, before, now, expected):
    checkpoint = saved_run(tmp_path / "before", **before)
    with pytest.raises(ValueError, match="another schedule") as error:
        toy.trainer(tmp_path / "now", **{"max_steps": 4, **now}).train(resume_from_checkpoint=checkpoint)
    for part in [*expected, f"model: {checkpoint}", "without resume_from_checkpoint"]:
        assert part in str(error.value)


def test_a_run_may_be_made_longer_when_its_schedule_stays_what_it_was(tmp_path):
    schedule = {"kl_schedule": "linear", "kl_warmup_steps": 5, "kl_start": 0.5}
    checkpoint = saved_run(tmp_path / "before", **schedule)
    # Keys of a schedule that is not in use make no difference.
    trainer = toy.trainer(tmp_path / "now", max_steps=4, kl_cycles=9, free_bits_mode="kingma", **schedule)
    trainer.train(resume_from_checkpoint=checkpoint)
    assert [entry["kl_weight"] for entry in steps(trainer)] == pytest.approx([0.5, 0.6, 0.7, 0.8])


def test_the_kl_weight_is_independent_of_sentence_length(tmp_path):
    """The gradient of the KL term of a batch does not change when its sentences are said several times over."""
    words = toy.corpus(8)
    longer = words.map(lambda row: {"labels": row["labels"] * 3})
    shares = []
    for data in (words, longer):
        trainer = toy.trainer(tmp_path, data, learning_rate=0.0)
        gradients = []
        for weight in (0.0, 1.0):
            trainer.begin_step([batch := toy.collate(list(data))])
            trainer.objective_options = lambda step, weight=weight: {
                "kl_weight": weight, "free_bits": 0.0, "free_bits_mode": "none",
            }  # fmt: skip
            trainer.model.zero_grad()
            trainer.compute_loss(trainer.model.train(), batch).backward()
            gradients.append(trainer.model.posterior_head.weight.grad.clone())
        shares.append(gradients[1] - gradients[0])
    torch.testing.assert_close(shares[0], shares[1], rtol=1e-3, atol=1e-4)
    assert shares[0].norm() > 0.1
