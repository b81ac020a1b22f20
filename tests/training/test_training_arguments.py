import json

import pytest

from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.objective_arguments import steps_of


def arguments(tmp_path, **options):
    return LatentTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)


def test_arguments_survive_json(tmp_path):
    original = arguments(
        tmp_path, kl_schedule="linear", kl_warmup_steps=0.25, free_bits=0.5, free_bits_mode="kingma", word_dropout=0.2
    )
    reloaded = LatentTrainingArguments(**json.loads(original.to_json_string()))
    assert reloaded.to_dict() == original.to_dict()
    assert (reloaded.kl_warmup_steps, reloaded.free_bits_mode, reloaded.word_dropout) == (0.25, "kingma", 0.2)


def test_defaults_fit_losses_per_sentence_and_keep_the_best_model(tmp_path):
    args = arguments(tmp_path)
    assert args.max_grad_norm == 5.0 and args.report_to == []
    assert args.eval_strategy == args.save_strategy == "epoch"
    assert args.load_best_model_at_end and args.metric_for_best_model == "loss" and not args.greater_is_better
    assert args.save_total_limit == 2


@pytest.mark.parametrize("strategies", [{"eval_strategy": "no"}, {"save_strategy": "no"}, {"save_strategy": "steps"}])
def test_a_run_that_cannot_know_its_best_model_ends_with_the_last(tmp_path, strategies):
    assert arguments(tmp_path, **strategies).load_best_model_at_end is False


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kl_schedule": "sigmod"}, ["'sigmod'", "'constant'", "'linear'"]),
        ({"free_bits_mode": "batch"}, ["'batch'", "'per_dimension'", "'kingma'"]),
        ({"free_bits": 0.5, "free_bits_mode": "none"}, ["free_bits is 0.5", "per_dimension, kingma"]),
        ({"free_bits": -1.0}, ["free_bits is -1.0", "0 or more"]),
        ({"word_dropout": 1.0}, ["word_dropout is 1.0", "[0, 1)"]),
        ({"kl_start": 1.5}, ["kl_start is 1.5", "between 0 and 1"]),
        ({"kl_end": 0.0}, ["kl_end is 0.0", "1 is the bound"]),
        ({"kl_end": 0.5, "kl_target": 3.0}, ["kl_target is 3.0 and kl_end 0.5", "Leave out"]),
        ({"kl_warmup_steps": 2.5}, ["kl_warmup_steps is 2.5", "whole number"]),
        ({"autoencoder_warmup_steps": -1}, ["autoencoder_warmup_steps is -1"]),
        ({"action_learning_rate": -1.0}, ["action_learning_rate is -1.0", "0 or more"]),
        ({"encoder_optim": "adam"}, ["encoder_optim is 'adam'", "adamw_torch", "sgd"]),
        ({"encoder_optim": "lomo"}, ["encoder_optim is 'lomo'", "some of the parameters"]),
        ({"encoder_optim": "sgd", "optim": "lomo"}, ["optim (beside encoder_optim) is 'lomo'"]),
        ({"encoder_max_grad_norm": -1.0}, ["encoder_max_grad_norm is -1.0", "0 means no clipping"]),
        ({"encoder_max_grad_norm": 1.0, "encoder_learning_rate": 0.0}, ["encoder_max_grad_norm", "keeps it as it is"]),
        ({"encoder_optim": "sgd", "encoder_learning_rate": 0.0}, ["encoder_optim", "keeps it as it is"]),
        ({"encoder_epochs": 1.0, "encoder_learning_rate": 0.0}, ["encoder_epochs", "keeps it as it is"]),
        ({"encoder_epochs": 0.0}, ["encoder_epochs is 0.0", "above 0"]),
        ({"encoder_epochs": 1.0, "aggressive": True}, ["aggressive trains", "encoder_epochs ends it after 1", "choose one"]),
        (
            {"encoder_epochs": 1.0, "collapse_guard": "act", "collapse_guard_action": "aggressive"},
            ["collapse_guard_action: aggressive trains"],
        ),
        (
            {"encoder_epochs": 1.0, "fixed_encoder_steps": 0.5, "num_train_epochs": 2},
            ["fixed_encoder_steps 0.5", "for 1 epochs", "never learn"],
        ),
        ({"kl_warmup_steps": float("nan")}, ["kl_warmup_steps is nan"]),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(tmp_path, options, expected):
    with pytest.raises(ValueError) as error:
        arguments(tmp_path, **options)
    for part in expected:
        assert part in str(error.value)


def test_steps_and_shares():
    assert [steps_of(value, 200) for value in (0, 0.25, 0.999, 1, 30, 30.0)] == [0, 50, 200, 1, 30, 30]


def test_kl_schedule_begins_after_the_autoencoder_warm_up(tmp_path):
    args = arguments(
        tmp_path, kl_schedule="linear", kl_start=0.2, kl_warmup_steps=0.4, autoencoder_warmup_steps=3, max_steps=10
    )
    weights = [args.kl_weight_at(step, 10) for step in range(9)]
    assert weights == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1])


def test_constant_schedule_is_the_bound_from_the_first_step(tmp_path):
    args = arguments(tmp_path, kl_warmup_steps=100, kl_start=0.1)
    assert [args.kl_weight_at(step, 200) for step in (0, 50, 199)] == [1.0, 1.0, 1.0]
    assert "kl_end" not in args.saved_settings(200)


def test_another_end_is_a_setting_that_a_resumed_run_must_share(tmp_path):
    args = arguments(tmp_path, kl_end=0.25, autoencoder_warmup_steps=2)
    assert [args.kl_weight_at(step, 10) for step in (1, 2, 9)] == [0.0, 0.25, 0.25]
    assert args.saved_settings(10)["kl_end"] == 0.25


def test_keys_of_parts_are_settings_that_a_resumed_run_must_share(tmp_path):
    keys = {"encoder_optim": "sgd", "encoder_max_grad_norm": 1.0, "action_learning_rate": 0.1, "fixed_encoder_steps": 0.5}
    keys |= {"encoder_epochs": 2.5}
    assert arguments(tmp_path, **keys).saved_settings(8).items() >= {**keys, "fixed_encoder_steps": 4}.items()
    assert not keys.keys() & arguments(tmp_path).saved_settings(8).keys()


@pytest.mark.parametrize(("given", "meant"), [("true", True), ("True", True), ("false", False), ("runs/a", "runs/a")])
def test_resume_reads_true_as_the_newest_checkpoint(tmp_path, given, meant):
    assert arguments(tmp_path, resume_from_checkpoint=given).resume_from_checkpoint == meant
