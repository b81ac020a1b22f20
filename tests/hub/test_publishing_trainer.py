"""`push_to_hub` of a trainer and of a recipe shares what `hf-lvm push` would share, with the card that is there."""

import json
import logging
from pathlib import Path

import pytest

from hf_lvm.training.run_files import run_files
from hf_lvm.training.task_and_talk import main
from tests.training import toy_latent_model as toy

PUSH = {"push_to_hub": True, "hub_model_id": "tester/toy"}
BOTS = [
    "--num_values", "2", "2", "--num_test", "1", "--num_question_symbols", "2", "--num_answer_symbols", "3", "--num_runs", "2",
    "--hidden_size", "8", "--max_steps", "2", "--use_cpu", "--disable_tqdm", "true", "--report_to", "none", "--push_to_hub",
    "true", "--hub_model_id", "tester/bots",
]  # fmt: skip


def test_a_trainer_shares_its_folder_in_one_commit_and_keeps_the_card(hub, tmp_path):
    trainer = toy.trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1, **PUSH)
    (tmp_path / "README.md").write_text("---\nlibrary_name: hf-lvm\n---\n# Ours\n")
    trainer.train()
    assert len(hub.repository("tester/toy").history()) == 1, "by default checkpoints are not shared"
    published = trainer.push_to_hub("all of it")
    commit, _ = hub.repository("tester/toy").history()
    assert commit.message == "all of it" and commit.oid == published.revision
    assert set(commit.files) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert hub.files("tester/toy")["README.md"] == (tmp_path / "README.md").read_bytes()
    assert (tmp_path / "README.md").read_text().endswith("# Ours\n")
    assert trainer.push_to_hub(blocking=False).result().unchanged
    (tmp_path / "README.md").unlink()
    trainer.save_model()
    assert (tmp_path / "README.md").exists(), "a folder without a card gets one"


def test_the_model_of_each_checkpoint_is_shared_if_asked_for_and_a_failure_stops_nothing(hub, tmp_path, caplog):
    run = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "hub_strategy": "every_save"}
    trainer = toy.trainer(tmp_path, **run, **PUSH)
    trainer.train()
    history = hub.repository("tester/toy").history()
    assert [commit.message for commit in history[:-1]] == [f"Training in progress, step {step}" for step in (3, 2, 1)]
    assert {name for commit in history for name in commit.files} == {".gitattributes", "config.json", "model.safetensors"}
    weights = Path(tmp_path, "checkpoint-3", "model.safetensors").read_bytes()
    assert hub.files("tester/toy")["model.safetensors"] == weights
    trainer = toy.trainer(tmp_path / "other", **run, **PUSH)
    hub.break_connection(0)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 3 and "was not shared, and training goes on" in caplog.text
    assert hub.repository("tester/toy").history() == history


def test_what_cannot_be_shared_is_said_before_training(hub, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'all_checkpoints' would share the state of the optimizer.*'every_save'"):
        toy.trainer(tmp_path, hub_strategy="all_checkpoints", **PUSH)
    with pytest.raises(PermissionError, match="may not write to tester/toy"):
        toy.trainer(tmp_path, hub_token="hf_stranger", **PUSH)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match="no token"):
        toy.trainer(tmp_path, **PUSH)


def test_a_recipe_ends_with_the_upload_of_all_it_wrote(hub, tmp_path):
    token = f"hf_{'o' * 34}"
    hub.users[token] = hub.users["hf_owner"]
    results = main([*BOTS, "--output_dir", str(tmp_path / "run"), "--hub_token", token], prog="hf-lvm train")
    commit, first = hub.repository("tester/bots").history()
    assert first.message == "initial commit" and commit.message == "End of training"
    files = hub.files("tester/bots")
    assert set(files) - {".gitattributes"} == set(run_files(tmp_path / "run").shared)
    assert {"config.json", "model.safetensors", "results.json", "dialogs.txt"} <= set(files)
    assert json.loads(files["results.json"])["command"] == results["command"]
    assert "--hub_token ..." in results["command"] and not any(token.encode() in content for content in files.values())


def test_a_recipe_whose_upload_fails_says_where_the_run_is(hub, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr("hf_lvm.training.task_and_talk.report_dialogs", broken_after(hub))
    with pytest.raises(ConnectionError, match=rf"whole in {folder}, but was not shared: .*`hf-lvm push {folder} tester/bots`"):
        main([*BOTS, "--output_dir", str(folder)], prog="hf-lvm train")
    assert "results.json" in run_files(folder).shared
    assert list(hub.files("tester/bots")) == [".gitattributes"]


def broken_after(hub):
    """The report of a run that is made, and then the connection goes."""
    from hf_lvm.analysis.dialog_report import report_dialogs

    def report(*arguments):
        hub.break_connection(0)
        return report_dialogs(*arguments)

    return report
