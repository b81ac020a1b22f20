"""Encoder and injections with learning rates of their own, and first steps in which the encoder stays as it is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

RUN = {
    "optim": "adamw_torch", "learning_rate": 0.02, "max_steps": 6, "save_strategy": "steps", "save_steps": 1,
    "save_total_limit": None, "lr_scheduler_type": "constant", "weight_decay": 0.1,
}  # fmt: skip
FIXED = {**RUN, "fixed_encoder_steps": 3, "encoder_learning_rate": 0.005, "injection_learning_rate": 0.08}


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("fixed"), **FIXED)
    trainer.train()
    return trainer


def weights(trainer, step) -> dict[str, torch.Tensor]:
    return load_file(Path(trainer.args.output_dir, f"checkpoint-{step}", "model.safetensors"))


def names_of(parameters) -> set[str]:
    return {name for name, _ in parameters}


def test_the_encoder_stays_as_it_is_and_then_learns_at_its_own_rate(fixed):
    begun = dict(toy.build().state_dict())
    held, moved = weights(fixed, 3), weights(fixed, 4)
    for name in names_of(fixed.model.inference_parameters()):
        assert torch.equal(held[name], begun[name]), name
        # The first step of Adam is as long as its rate, and weight decay adds to it.
        assert (moved[name] - held[name]).abs().max() == pytest.approx(0.005, rel=0.3), name
    for name in names_of(fixed.model.generative_parameters()):
        rate = 0.08 if name.startswith("injection") else 0.02
        assert (weights(fixed, 1)[name] - begun[name]).abs().max() == pytest.approx(rate, rel=0.3), name


def test_groups_of_the_optimizer_differ_in_rate_and_weight_decay(fixed):
    groups = {
        name: (group["lr"], group["weight_decay"])
        for group in fixed.optimizer.param_groups
        for parameter in group["params"]
        for name, other in fixed.model.named_parameters()
        if other is parameter
    }
    assert groups["posterior_head.weight"] == (0.005, 0.1) and groups["posterior_head.bias"] == (0.005, 0.0)
    assert groups["head.weight"] == (0.02, 0.1) and groups["head.bias"] == (0.02, 0.0)
    assert groups["injection.weight"] == (0.08, 0.1) and groups["injection.bias"] == (0.08, 0.0)


@pytest.mark.parametrize("pieces", [1, 2])
def test_resuming_while_it_is_held_and_afterwards_is_exact(fixed, tmp_path, pieces):
    options, straight = FIXED, fixed
    if pieces == 2:
        options = {**FIXED, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        straight = toy.trainer(tmp_path / "straight", **options)
        straight.train()
    assert_resumes_exactly(straight, tmp_path, [2, 3, 4], **options)


def test_a_rate_of_zero_keeps_it_for_the_whole_run(tmp_path):
    trainer = toy.trainer(tmp_path, **{**RUN, "encoder_learning_rate": 0.0})
    trainer.train()
    begun = dict(toy.build().state_dict())
    for name, parameter in trainer.model.inference_parameters():
        assert torch.equal(parameter, begun[name]) and parameter.grad is None, name
    for name, parameter in trainer.model.generative_parameters():
        assert not torch.equal(parameter, begun[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_learning_rate": -1.0}, "a rate is 0 or more"),
        ({"injection_learning_rate": -1.0}, "a rate is 0 or more"),
        ({"fixed_encoder_steps": 1.5}, "fixed_encoder_steps is 1.5"),
        ({"fixed_encoder_steps": 3, "autoencoder_warmup_steps": 2}, "autoencoder_warmup_steps trains the encoder first"),
        ({"encoder_learning_rate": 0.0, "aggressive": True}, "aggressive trains the encoder first"),
        (
            {"fixed_encoder_steps": 3, "collapse_guard": "act", "collapse_guard_action": "aggressive"},
            "collapse_guard_action: aggressive trains the encoder first",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        toy.trainer(tmp_path, **{**RUN, **options})


def test_a_frozen_encoder_has_no_first_steps(tmp_path):
    model = toy.build()
    for _, parameter in model.inference_parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="all of it is frozen"):
        toy.trainer(tmp_path, model=model, **FIXED)
