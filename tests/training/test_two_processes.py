import pytest
import torch

from tests.child_processes import errors_of_two
from tests.training import child_runs, parts_model
from tests.training import toy_latent_model as toy

# Three steps of 8 sentences an epoch: step 4, where the run is resumed, is in the middle of the second.
OPTIONS = {
    "max_steps": 7, "kl_schedule": "linear", "kl_warmup_steps": 5, "word_dropout": 0.3, "free_bits": 0.3,
    "save_strategy": "steps", "save_steps": 4,
}  # fmt: skip
WATCHED = ("loss", "grad_norm", "bound", "reconstruction", "kl", "kl_weight", "active_units")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    options = {**OPTIONS, "train": toy.corpus(24), "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    errors = errors_of_two(child_runs.train_as_one_of_two, folder, str(folder), options)
    return [torch.load(folder / f"outcome-{rank}.pt") for rank in range(2)], errors


def test_two_processes_train_like_one(outcomes, tmp_path):
    single = toy.trainer(tmp_path, toy.corpus(24), toy.corpus(13, seed=1), **OPTIONS)
    single.train()
    (first, second), _ = outcomes
    for name, weight in single.model.state_dict().items():
        torch.testing.assert_close(first["straight"]["weights"][name], weight, rtol=1e-5, atol=1e-6)
        assert torch.equal(first["straight"]["weights"][name], second["straight"]["weights"][name])
    logs = [[entry for entry in log if "loss" in entry] for log in (first["straight"]["log"], single.state.log_history)]
    assert len(logs[0]) == len(logs[1]) == 7
    for two, one in zip(*logs, strict=True):
        for name in WATCHED:
            assert two[name] == pytest.approx(one[name], rel=1e-5), name


def test_two_processes_evaluate_like_one(outcomes, tmp_path):
    (first, second), _ = outcomes
    single = toy.trainer(tmp_path, evaluation=toy.corpus(13, seed=1))
    single.model.load_state_dict(first["straight"]["weights"])
    one = single.evaluate()
    for name in ("eval_loss", "eval_bound", "eval_reconstruction", "eval_kl", "eval_active_units"):
        assert first["evaluation"][name] == pytest.approx(one[name], rel=1e-6)
        assert first["evaluation"][name] == second["evaluation"][name]


def test_two_processes_resume_bit_for_bit(outcomes):
    for outcome in outcomes[0]:
        for name, weight in outcome["straight"]["weights"].items():
            assert torch.equal(weight, outcome["resumed"]["weights"][name])
        losses = [[entry["loss"] for entry in outcome[run]["log"] if "loss" in entry] for run in ("straight", "resumed")]
        assert losses[0] == losses[1]


def test_every_phase_of_two_processes_is_that_of_one(outcomes, tmp_path):
    single = toy.trainer(tmp_path, toy.corpus(24), toy.corpus(40, seed=1), **child_runs.PHASES)
    single.train()
    (first, second), _ = outcomes
    for name, weight in single.model.state_dict().items():
        torch.testing.assert_close(first["phases"]["weights"][name], weight, rtol=1e-4, atol=1e-5)
        assert torch.equal(first["phases"]["weights"][name], second["phases"]["weights"][name])
        assert torch.equal(first["phases"]["weights"][name], first["phases_resumed"]["weights"][name])
    logs = [first["phases"]["log"], single.state.log_history]
    for key in ("loss", "kl_weight", "inner_steps", "aggressive_mutual_information", "guard_mutual_information"):
        two, one = ([entry[key] for entry in log if key in entry] for log in logs)
        assert two == pytest.approx(one, rel=1e-4) and one, key


def test_parts_of_two_processes_are_trained_like_those_of_one(outcomes, tmp_path):
    single = toy.trainer(tmp_path, toy.corpus(24), model=parts_model.build(), **child_runs.PARTS)
    single.train()
    (first, second), _ = outcomes
    for name, weight in single.model.state_dict().items():
        torch.testing.assert_close(first["parts"]["weights"][name], weight, rtol=1e-4, atol=1e-5)
        assert torch.equal(first["parts"]["weights"][name], second["parts"]["weights"][name])
        for other in ("parts_resumed", "parts_waiting"):
            assert torch.equal(first["parts"]["weights"][name], first[other]["weights"][name]), other
    for key in ("loss", "grad_norm", "encoder_grad_norm"):
        two, one = ([entry[key] for entry in log if key in entry] for log in (first["parts"]["log"], single.state.log_history))
        assert two == pytest.approx(one, rel=1e-4) and one, key


def test_a_nan_in_one_process_stops_both(outcomes):
    for error in outcomes[1]:
        assert error.startswith("FloatingPointError: Training stopped at step 2: the loss is nan."), error
