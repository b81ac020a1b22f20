"""Saving and resuming. What must survive a kill or a full disk runs in a process that is really killed."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_lvm.training.checkpoints import last_checkpoint, publish_folder, publish_model, recover
from tests import child_processes
from tests.training import child_runs
from tests.training import toy_latent_model as toy

RUN = {
    "optim": "adamw_torch", "max_steps": 9, "save_strategy": "steps", "save_steps": 2, "kl_schedule": "linear",
    "kl_warmup_steps": 7, "word_dropout": 0.3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
}  # fmt: skip


def assert_same_end(straight, resumed):
    for one, other in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    watched = ("step", "loss", "grad_norm", "learning_rate", "bound", "kl", "kl_weight")
    logs = [
        [[entry[name] for name in watched] for entry in run.state.log_history if "loss" in entry]
        for run in (straight, resumed)
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 9


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("straight"), **RUN)
    trainer.train()
    return trainer


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_resumed_in_mid_epoch_ends_bit_for_bit_like_the_straight_one(straight, step, tmp_path):
    # 6 steps an epoch: step 4 is in the middle of the first, step 8 of the second.
    checkpoint = Path(straight.args.output_dir, f"checkpoint-{step}")
    if not checkpoint.exists():  # rotated away: make it again
        first = toy.trainer(tmp_path, **RUN)

        class Stop(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                control.should_training_stop = state.global_step == step

        first.add_callback(Stop())
        first.train()
        checkpoint = tmp_path / f"checkpoint-{step}"
    torch.manual_seed(99)
    resumed = toy.trainer(tmp_path / "resumed", model=toy.build(seed=5), **RUN)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert_same_end(straight, resumed)


def test_a_kill_in_the_middle_of_a_save_leaves_the_checkpoint_before(straight, tmp_path):
    runs = tmp_path / "runs"
    exit_code = child_processes.run(child_runs.train_and_be_killed, tmp_path / "error", str(runs), RUN)
    assert exit_code == -signal.SIGKILL
    assert {path.name for path in runs.iterdir()} == {"checkpoint-2", ".incomplete-checkpoint-4"}
    assert last_checkpoint(runs) == str(runs / "checkpoint-2")
    toy.ToyModel.from_pretrained(runs / "checkpoint-2")
    resumed = toy.trainer(runs, **RUN)
    resumed.train(resume_from_checkpoint=True)
    assert_same_end(straight, resumed)
    assert not list(runs.glob(".incomplete*"))


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before(straight, tmp_path):
    runs = tmp_path / "runs"
    assert child_processes.run(child_runs.train_while_the_disk_fills, tmp_path / "error", str(runs), RUN) == 1
    message = (tmp_path / "error").read_text()
    assert message.startswith(f"SavingError: Could not save {runs}/checkpoint-4: ")
    assert f"{runs}/checkpoint-2 is whole" in message
    assert [path.name for path in runs.iterdir()] == ["checkpoint-2"]
    resumed = toy.trainer(runs, **RUN)
    resumed.train(resume_from_checkpoint=True)
    assert_same_end(straight, resumed)


def test_the_newest_and_the_best_checkpoint_stay_and_the_best_is_loaded(tmp_path):
    class Spoil(TrainerCallback):
        """Makes the model worse after the second evaluation."""

        def on_save(self, args, state, control, model=None, **kwargs):
            if state.global_step == 4:
                model.head.weight.data += torch.randn(model.head.weight.shape)

    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = toy.trainer(tmp_path, evaluation=toy.corpus(16, seed=1), max_steps=10, **options)
    trainer.args.learning_rate = 0.001
    trainer.add_callback(Spoil())
    trainer.train()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-10"}
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    for checkpoint in ("checkpoint-4", "checkpoint-10"):
        state = json.loads((tmp_path / checkpoint / "trainer_state.json").read_text())
        assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-4")
    saved = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert torch.equal(trainer.model.head.weight, saved["head.weight"])


def test_a_limit_of_one_leaves_the_best_only(tmp_path):
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "save_total_limit": 1, "num_train_epochs": 3}
    trainer = toy.trainer(tmp_path, evaluation=toy.corpus(16, seed=1), **options)
    trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == [Path(trainer.state.best_model_checkpoint).name]


def test_a_checkpoint_holds_no_pickle_of_the_arguments(tmp_path):
    toy.trainer(tmp_path, save_strategy="epoch", num_train_epochs=1).train()
    checkpoint = tmp_path / "checkpoint-6"
    assert {path.name for path in checkpoint.iterdir()} == {
        "config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json",
        "training_args.json",
    }  # fmt: skip
    assert json.loads((checkpoint / "training_args.json").read_text())["max_grad_norm"] == 1000.0


@pytest.mark.parametrize("max_steps", [4, 6])  # in the middle of an epoch, and at its end
def test_a_run_that_had_come_to_its_end_makes_no_step_more(tmp_path, max_steps):
    options = {"max_steps": max_steps, "save_strategy": "steps", "save_steps": 2}
    first = toy.trainer(tmp_path, **options)
    first.train()
    again = toy.trainer(tmp_path, model=toy.build(seed=5), **options)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == max_steps
    assert last_checkpoint(tmp_path) == str(tmp_path / f"checkpoint-{max_steps}")
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_resuming_without_a_checkpoint_starts_from_scratch_and_says_so(tmp_path, caplog):
    trainer = toy.trainer(tmp_path / "empty", max_steps=1)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 1
    assert "There is no checkpoint in" in caplog.text and "from scratch" in caplog.text


def test_a_partial_checkpoint_is_passed_over_and_refused_by_name(tmp_path):
    toy.trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=1).train()
    state = tmp_path / "checkpoint-2" / "trainer_state.json"
    state.write_text(state.read_text()[:50])
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    with pytest.raises(FileNotFoundError, match="checkpoint-2 is not a whole checkpoint.*newest whole one is .*checkpoint-1"):
        toy.trainer(tmp_path, max_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert last_checkpoint(tmp_path / "nowhere") is None


def folder(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    return path


def contents(path):
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_checkpoint_of_the_same_step_is_replaced_and_a_stopped_replacement_undone(tmp_path):
    place = folder(tmp_path / "checkpoint-2", a_txt="old")
    publish_folder(folder(tmp_path / "staged", b_txt="new"), place)
    assert contents(place) == {"b.txt": "new"} and len(list(tmp_path.iterdir())) == 1
    place.rename(tmp_path / ".replaced-checkpoint-2")  # the moment between the two renames
    recover(tmp_path)
    assert contents(place) == {"b.txt": "new"} and len(list(tmp_path.iterdir())) == 1


def test_the_final_model_is_moved_whole_beside_what_else_is_there(tmp_path):
    folder(tmp_path / "run", config_json="old", model_safetensors="old", notes_txt="mine")
    staged = folder(tmp_path / "run" / ".incomplete-model", config_json="new", model_safetensors="new")
    folder(staged / "decoder_tokenizer", tokenizer_json="new")
    publish_model(staged, tmp_path / "run")
    assert (tmp_path / "run" / "decoder_tokenizer" / "tokenizer.json").read_text() == "new"
    assert not list((tmp_path / "run").glob(".*"))
    (tmp_path / "run" / "decoder_tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "run" / "decoder_tokenizer").rmdir()
    assert contents(tmp_path / "run") == {"config.json": "new", "model.safetensors": "new", "notes.txt": "mine"}


def test_a_move_of_the_final_model_that_was_stopped_is_finished(tmp_path):
    # Stopped after the weights: no config yet, so that nothing loads the half of it.
    folder(tmp_path / "run", model_safetensors="new")
    folder(tmp_path / "run" / ".complete-model", config_json="new", generation_json="new")
    recover(tmp_path / "run")
    assert contents(tmp_path / "run") == {"config.json": "new", "model.safetensors": "new", "generation.json": "new"}


def test_results_that_were_being_written_are_cleared_away(tmp_path):
    run = folder(tmp_path / "run", results_json="whole")
    (run / ".incomplete-results.json").write_text("{")
    recover(run)
    assert contents(run) == {"results.json": "whole"}


def test_the_saved_model_loads_and_a_failed_save_leaves_it_alone(tmp_path):
    trainer = toy.trainer(tmp_path / "run", max_steps=1)
    trainer.train()
    trainer.save_model()
    before = load_file(tmp_path / "run" / "model.safetensors")
    run = str(tmp_path / "run")
    assert child_processes.run(child_runs.save_on_a_full_disk, tmp_path / "error", run) == 1
    assert f"SavingError: Could not save the model in {tmp_path}/run: " in (tmp_path / "error").read_text()
    assert not list((tmp_path / "run").glob(".*"))
    after = toy.ToyModel.from_pretrained(tmp_path / "run").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
