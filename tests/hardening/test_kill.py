"""kill -9 at any moment of training and saving, and the same command again: nothing that was saved is lost, nothing changes.

python -m pytest tests/hardening/test_kill.py -m slow -s
"""

import collections
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModel

from hf_lvm.training.checkpoints import last_checkpoint
from tests import child_processes
from tests.hardening import killed_runs
from tests.trained_text_vae import CONFIG, write_texts
from tests.trained_urnng import arguments, write_sentences

child_processes.SERVER.set_forkserver_preload(
    ["tests.training.child_runs", "tests.two_processes", "tests.hardening.killed_runs"]  # where it has not begun yet
)

STEPS, SAVE_STEPS = 40, 2
OPTIONS = [
    "--max_steps", str(STEPS), "--save_strategy", "steps", "--save_steps", str(SAVE_STEPS), "--eval_strategy", "steps",
    "--eval_steps", str(SAVE_STEPS), "--save_total_limit", "2", "--logging_steps", "1", "--resume_from_checkpoint", "true",
]  # fmt: skip
FILES = {"config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
# What a kill waits for, beside a moment drawn from the time that a run takes: what saving makes, in the order it makes it.
MOMENTS = {
    "a checkpoint is written": ".incomplete-checkpoint-*",
    "its model is written": ".incomplete-checkpoint-*/checkpoint-*/model.safetensors",
    "its optimizer is written": ".incomplete-checkpoint-*/checkpoint-*/optimizer.pt",
    "a checkpoint is there, an older one is deleted": "checkpoint-*",
    "the final model is written": ".incomplete-model",
    "the final model is moved": ".complete-model",
    "results are written": "*results.json",
}  # fmt: skip


def text_vae_command(place: Path, folder: Path) -> list[str]:
    texts, config = place / "texts.txt", place / "run.yaml"
    if not config.exists():
        write_texts(texts)
        config.write_text(CONFIG)  # with the dropout of BERT and GPT-2
    return ["--config", str(config), "--dataset", str(texts), "--output_dir", str(folder), *OPTIONS, "--word_dropout", "0.2"]


def urnng_command(place: Path, folder: Path) -> list[str]:
    data = place / "data"
    if not data.exists():
        write_sentences(data)
    return arguments(data, folder, *OPTIONS, "--decoder_dropout", "0.2", "--kl_schedule", "linear", "--kl_warmup_steps", "20")


COMMANDS = {"text_vae": text_vae_command, "urnng": urnng_command}


def step_of(checkpoint: str | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])


def wait_and_kill(child, folder: Path, rng: random.Random, seconds: float) -> str:
    """Kill a run at a moment that is drawn; which it was, or "" where it had ended before."""
    moment = rng.choice(["any", "any", "any", *MOMENTS, *list(MOMENTS)[:4]])
    before, begin = set() if moment == "any" else set(folder.glob(MOMENTS[moment])), time.monotonic()
    delay = rng.uniform(0, seconds) if moment == "any" else rng.choice([0.0, rng.uniform(0, 0.02)])
    while moment != "any" and child.is_alive() and not set(folder.glob(MOMENTS[moment])) - before:
        # One that never comes, such as new results where some are there, becomes any moment.
        if time.monotonic() - begin > 3 * seconds:
            moment = "any"
        time.sleep(0.0005)
    if moment == "any":
        child.join(delay)
    else:
        time.sleep(delay)
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return moment if child.exitcode == -signal.SIGKILL else ""


def assert_nothing_is_lost(folder: Path, reached: int) -> int:
    """Every checkpoint is whole and loads, and the newest is no older than `reached`; its step."""
    for checkpoint in folder.glob("checkpoint-*"):
        assert re.fullmatch(r"checkpoint-\d+", checkpoint.name), "neither written nor deleted in place"
        assert {path.name for path in checkpoint.iterdir()} >= FILES, checkpoint
    newest = last_checkpoint(folder)
    assert step_of(newest) >= reached, (newest, reached)
    if newest is not None:
        assert json.loads(Path(newest, "trainer_state.json").read_text())["global_step"] == step_of(newest)
        AutoModel.from_pretrained(newest)
    if (folder / "config.json").exists():
        AutoModel.from_pretrained(folder)  # the final model is there whole, or not at all
    return step_of(newest)


def logged(folder: Path) -> list[dict]:
    """What was logged at each step, without times and speeds."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    assert sum("loss" in entry for entry in history) == STEPS
    return [
        {key: value for key, value in entry.items() if not re.search("runtime|per_second|time|active_units|train_loss", key)}
        for entry in history
        if "train_runtime" not in entry
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kills"), [("text_vae", 20), ("urnng", 10)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(name, kills, tmp_path):
    straight, folder = tmp_path / "straight", tmp_path / "killed"
    begin = time.monotonic()
    child = child_processes.start(killed_runs.train, tmp_path / "error", name, COMMANDS[name](tmp_path, straight))
    child.join()
    assert child.exitcode == 0, (tmp_path / "error").read_text()
    seconds = time.monotonic() - begin
    rng, moments, reached, attempts = random.Random(7), collections.Counter(), 0, 0
    while moments.total() < kills:
        attempts += 1
        assert attempts < 4 * kills, "most runs ended before they were killed"
        child = child_processes.start(killed_runs.train, tmp_path / "error", name, COMMANDS[name](tmp_path, folder))
        moment = wait_and_kill(child, folder, rng, 0.7 * seconds)
        if moment:
            moments[moment] += 1
        else:
            assert child.exitcode == 0, (tmp_path / "error").read_text()
        reached = assert_nothing_is_lost(folder, reached)
    child = child_processes.start(killed_runs.train, tmp_path / "error", name, COMMANDS[name](tmp_path, folder))
    child.join()
    assert child.exitcode == 0, (tmp_path / "error").read_text()
    print(f"\n{name}: {kills} kills in {attempts} runs, {time.monotonic() - begin:.0f} s; a straight run {seconds:.0f} s")
    for moment, count in moments.most_common():
        print(f"  {count:3}  {moment}")
    assert not list(folder.glob(".*")), "nothing is left behind"
    for one, other in zip(logged(straight), logged(folder), strict=True):
        assert one.keys() == other.keys()
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6), one["step"]
    weights = [load_file(place / "model.safetensors") for place in (straight, folder)]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][key] - weights[1][key]).abs().max() < 1e-6 for key in weights[0])
    results = [json.loads((place / "results.json").read_text())["test"] for place in (straight, folder)]
    assert results[0]["bound"] == pytest.approx(results[1]["bound"], rel=1e-5)
