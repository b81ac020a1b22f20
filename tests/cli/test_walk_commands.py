"""`hf-lvm traverse` and `hf-lvm arithmetic`: texts along ways through the latent space, with their scores."""

import json
import re

import pytest
import torch

from hf_lvm.analysis.trained_model import load_trained
from tests.cli.test_commands import assert_one_line_error, run

TEXTS = ("the cat sees a house .", "this child does not see the river .")


def test_traverse_shows_the_dimensions_that_change_most_first(capsys, trained_run, tmp_path):
    output = tmp_path / "walks.json"
    argv = ["traverse", *TEXTS, "--model", trained_run.folder, "--grid", -4, 0, 4, "--show", 1, "--output", output]
    status, printed, errors = run(capsys, *argv)
    assert status == 0 and not errors
    table, *walks = printed.split("\n\n")
    lines = table.splitlines()[1:]
    still = [line for line in lines if line.endswith("dimensions change no text")]
    rows = [line.split() for line in lines if line not in still]
    distances = [float(row[1]) for row in rows]
    assert distances == sorted(distances, reverse=True)
    written = json.loads(output.read_text())
    assert written["lines"] == printed.splitlines()
    scores = written["metrics"]["dimensions"]
    changing = {name: own["neighbour_distance"] for name, own in scores.items() if own["neighbour_distance"]}
    assert {row[0]: float(row[1]) for row in rows} == {
        name: pytest.approx(distance, abs=5e-4) for name, distance in changing.items()
    }
    without = len(scores) - len(changing)
    assert still == ([f"{without} of {len(scores)} dimensions change no text"] if without else [])
    # One dimension, two texts, three values; what is written is what the model decodes there.
    assert len(walks) == 2 and all(len(walk.splitlines()) == 4 for walk in walks)
    model, processor = load_trained(str(trained_run.folder), "decode_latents")
    dimension = int(rows[0][0])
    for text, walk in zip(TEXTS, walks, strict=True):
        latents = model.encode_texts([text], processor=processor).mean.detach().repeat(3, 1)
        latents[:, dimension] = torch.tensor([-4.0, 0.0, 4.0])
        decoded = model.decode_latents(latents, processor=processor)
        assert walk.splitlines()[0] == f"dimension {dimension}, {text}"
        assert [line[6:].strip() for line in walk.splitlines()[1:]] == decoded


def test_traverse_begins_with_draws_of_the_prior(capsys, trained_run):
    grid = [-40, 40]
    argv = ["traverse", "--model", trained_run.folder, "--origins", 2, "--dimensions", 1, "--seed", 3, "--grid", *grid]
    argv += ["--max_new_tokens", 8]
    status, printed, errors = run(capsys, *argv)
    assert status == 0 and printed.count("dimension 1, draw ") == 2, errors
    model, processor = load_trained(str(trained_run.folder), "decode_latents")
    latents = model.prior(2).sample(generator=torch.Generator().manual_seed(3)).repeat_interleave(2, 0)
    latents[:, 1] = torch.tensor([-40.0, 40.0, -40.0, 40.0])
    walks = [line[6:].strip() for walk in printed.split("\n\n")[1:] for line in walk.splitlines()[1:]]
    assert walks == model.decode_latents(latents, processor=processor, max_new_tokens=8) and len(set(walks)) > 1


def test_arithmetic_stands_beside_its_controls(capsys, trained_run, tmp_path):
    output = tmp_path / "arithmetic.json"
    argv = [
        "arithmetic", "does not", "--model", trained_run.folder, "--dataset", trained_run.texts, "--split", "train",
        "--max_samples", 40, "--show", 2, "--output", output,
    ]  # fmt: skip
    status, printed, errors = run(capsys, *argv)
    assert status == 0 and not errors, errors
    for name in ("along the attribute", "a random direction, as far", "no push: reconstruction"):
        assert printed.count(name) == 2
    assert printed.count("  rebuilt  ") == 4
    metrics = json.loads(output.read_text())["metrics"]
    assert metrics["pattern"] == "does not" and 0 < metrics["away"]["texts"] + metrics["towards"]["texts"] <= 40
    shown = re.search(r"(\d+)% .*along the attribute", printed)
    assert int(shown.group(1)) == round(100 * metrics["towards"]["shift"]["flipped_share"])
    pushed_away = printed.split("pushed away from it")[1]
    assert all("does not" in text for text in re.findall(r"  text     (.*)", pushed_away))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["traverse", "--origins", "0"], ["--origins", "give 1 or more"]),
        (["traverse", "--dimensions", "99"], ["no dimension 99"]),
        (["traverse", "--grid", "2", "1"], ["in rising order"]),
        (["arithmetic", "("], ["no regular expression"]),
        (["arithmetic", "never in any text", "--dataset", "TEXTS"], ["0 of", "must have it"]),
        (["arithmetic", "x", "--output", "/nowhere/at/all.json"], ["no folder"]),
    ],
)
def test_what_cannot_be_done_is_one_error(capsys, trained_run, argv, expected):
    given = [trained_run.texts if value == "TEXTS" else value for value in argv]
    status, _, errors = run(capsys, *given, "--model", trained_run.folder)
    last = errors.strip().splitlines()[-1]
    assert status == 2 and last.startswith(f"hf-lvm {argv[0]}: error: ") and all(words in last for words in expected), errors


def test_a_model_without_such_a_latent_is_refused(capsys, tmp_path):
    missing = run(capsys, "traverse", "--model", tmp_path / "nowhere")
    assert_one_line_error(*missing, "hf-lvm traverse", "no folder", "nowhere")
