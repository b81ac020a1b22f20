"""Keys of a run that its model cannot follow: refused before the first step, with what would go."""

import pytest

from hf_lvm import LatentTrainingArguments
from hf_lvm.training.model_checks import check_model
from tests.tiny_parts import tiny_classes, tiny_vae

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
