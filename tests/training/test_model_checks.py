"""Keys of a run that its model cannot follow: refused before the first step, with what would go."""

import pytest
import torch

from hf_lvm import LatentTrainingArguments
from hf_lvm.training.model_checks import check_model, check_optimizer_is_made_here
from tests.tiny_parts import tiny_classes, tiny_vae
from tests.training import parts_model

ACTS = {"collapse_guard": "act"}
FAMILIES = {
    "gaussian_mixture": {"prior_type": "gaussian_mixture"},
    "vamp": {"prior_type": "vamp"},
    "flow": {"prior_type": "flow"},
    "von_mises_fisher": {"posterior_type": "von_mises_fisher", "prior_type": "uniform_sphere"},
}


def check(tmp_path, options, **model) -> None:
    check_model(LatentTrainingArguments(str(tmp_path), use_cpu=True, **options), tiny_vae("bert", "gpt2", **model))


@pytest.mark.parametrize("family", FAMILIES)
def test_free_bits_by_dimension_need_a_kl_by_dimension(tmp_path, family):
    for options in (ACTS, {"free_bits": 0.25}):
        with pytest.raises(ValueError, match="needs a KL per dimension.*'per_sentence'.*nats in total"):
            check(tmp_path, options, **FAMILIES[family])
        check(tmp_path, {**options, "free_bits_mode": "per_sentence"}, **FAMILIES[family])
        check(tmp_path, options)


def test_free_bits_need_the_kl_of_the_elbo(tmp_path):
    of_samples = {"objective": "iwae", "estimator": "dreg", "num_samples": 2}
    with pytest.raises(ValueError, match="collapse_guard_action 'free_bits'.*'iwae': set collapse_guard to 'warn'"):
        check(tmp_path, ACTS, **of_samples)
    with pytest.raises(ValueError, match="free_bits 0.25.*'iwae': set free_bits to 0"):
        check(tmp_path, {"free_bits": 0.25}, **of_samples)
    check(tmp_path, {}, **of_samples)


@pytest.mark.parametrize(
    ("target", "options", "model", "message"),
    [
        (3.0, {}, {"posterior_concentration": 9.0, **FAMILIES["von_mises_fisher"]}, "the KL of every text the same number"),
        (2.0, {}, {"posterior_type": "delta", "committed_rate": 5.0}, "committed_rate 5 keeps the KL at 5 nats or more"),
        (1.0, {"free_bits": 0.5}, {"latent_size": 4}, r"free_bits 0.5 \(per_dimension\) keeps the KL at 2 nats"),
        (1.0, {"free_bits": 2.0, "free_bits_mode": "per_batch"}, {}, r"free_bits 2 \(per_batch\) keeps the KL at 2 nats"),
    ],
)
def test_a_kl_target_that_cannot_be_reached(tmp_path, target, options, model, message):
    with pytest.raises(ValueError, match=message):
        check(tmp_path, {"kl_target": target, **options}, **model)
    if "posterior_concentration" not in model:
        check(tmp_path, {"kl_target": 9.0, **options}, **model)


@pytest.mark.parametrize("options", [{"aggressive": True}, {**ACTS, "collapse_guard_action": "aggressive"}])
def test_categories_are_not_trained_aggressively(tmp_path, options):
    with pytest.raises(ValueError, match="aggressive'? is for a latent vector"):
        check_model(LatentTrainingArguments(str(tmp_path), use_cpu=True, **options), tiny_classes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"injection_learning_rate": 0.1}, "injection_learning_rate is for a model with a part 'injection'.*it names none"),
        ({"encoder_optim": "sgd"}, "encoder_optim is for a model with a part 'encoder'"),
        ({"encoder_max_grad_norm": 1.0}, "encoder_max_grad_norm is for a model with a part 'encoder'"),
        ({"action_learning_rate": 0.1}, "action_learning_rate is for a model with a part 'action_head'"),
    ],
)
def test_keys_of_a_part_that_the_model_does_not_name(tmp_path, options, message):
    args = LatentTrainingArguments(str(tmp_path), use_cpu=True, **options)
    with pytest.raises(ValueError, match=message):
        check_model(args, torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="TextVAEModel has none .it names 'encoder', 'injection'.: leave the key out"):
        check(tmp_path, {**options, "action_learning_rate": 0.1})


def test_parts_that_are_frozen_or_overlap(tmp_path):
    options = {"action_learning_rate": 0.1, "injection_learning_rate": 0.2}
    args = LatentTrainingArguments(str(tmp_path), use_cpu=True, **options)
    model = parts_model.build()
    check_model(args, model)
    model.head.requires_grad_(False)
    with pytest.raises(ValueError, match="action_learning_rate says how the part 'action_head'.*all of it is frozen"):
        check_model(args, model)
    model.head.requires_grad_(True)
    model.parameter_parts = lambda: {"action_head": model.injection.named_parameters()}
    with pytest.raises(ValueError, match="'action_head'.*'weight' also belongs to the part 'injection'"):
        check_model(args, model)


def test_an_optimizer_or_shards_of_somebody_else(tmp_path):
    options = {"encoder_learning_rate": 0.1, "encoder_max_grad_norm": 1.0, "encoder_optim": "sgd"}
    args = LatentTrainingArguments(str(tmp_path), use_cpu=True, **options)
    check_optimizer_is_made_here(args, is_given=False, is_sharded=False)
    with pytest.raises(ValueError, match="^encoder_learning_rate, encoder_optim: the optimizer that was given"):
        check_optimizer_is_made_here(args, is_given=True, is_sharded=False)
    with pytest.raises(ValueError, match="^encoder_optim, encoder_max_grad_norm need parameters that are whole"):
        check_optimizer_is_made_here(args, is_given=False, is_sharded=True)
    held = LatentTrainingArguments(str(tmp_path), use_cpu=True, encoder_learning_rate=0.0)
    check_optimizer_is_made_here(held, is_given=True, is_sharded=True)
