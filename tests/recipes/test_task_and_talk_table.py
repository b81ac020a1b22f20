"""The tables of Task & Talk from results files."""

import json
import sys
from pathlib import Path

import pytest

from hf_lvm.training.task_and_talk import spread

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def table_of():
    """The function that makes the tables of a folder of results."""
    sys.path.insert(0, str(RECIPES))
    try:
        from task_and_talk_table import task_and_talk_table
    finally:
        sys.path.remove(str(RECIPES))
    return task_and_talk_table


def run_of(test: list[float], solved: int) -> dict:
    keys = ("train_both", "train_any", "test_both", "test_any", "train_nats", "test_nats", "purity")
    return {
        "command": "train_task_and_talk.py --seed 1", "corpus": "64 objects", "steps": 300, "training_seconds": 120.0,
        "hardware": "CPU", "versions": {"torch": "2", "transformers": "5"}, "num_runs": len(test), "solved_runs": solved,
        "all_runs": {key: spread(test) for key in keys},
        "of_solved_runs": {key: spread(test[:solved]) for key in keys} if solved else None,
        "runs": [{"seed": 1 + number} for number in range(len(test))], "lexicon": ["X?  0  color=red 1.00"],
    }  # fmt: skip


def test_rows_that_are_there_and_rows_that_are_not(table_of, tmp_path):
    empty = table_of(tmp_path)
    assert "| `minimal.yaml` | 3 questions, 4 answers, no memory | 74.4 | 94.9 | - |" in empty and "```" not in empty
    (tmp_path / "minimal.json").write_text(json.dumps(run_of([1.0, 0.5, 0.75], 2)))
    anew = run_of([1.0, 1.0], 2)
    anew["runs"] = [{"seed": 1, "attempts": 1}, {"seed": 2_000_002, "attempts": 3}]
    (tmp_path / "minimal_restart.json").write_text(json.dumps(anew))
    (tmp_path / "minimal_plain.json").write_text(json.dumps(run_of([0.25, 0.5], 0) | {"remark": "Two runs only."}))
    lines = table_of(tmp_path).splitlines()
    row = next(line for line in lines if line.startswith("| `minimal.yaml`")).split(" | ")
    assert row[2:6] == ["74.4", "94.9", "3", "2 (67%)"]
    assert row[7] == "75.0 (SD 35.4, 50.0 to 100.0)" and row[8] == "75.0 (SD 25.0, 50.0 to 100.0)"
    plain = next(line for line in lines if line.startswith("| `minimal_plain`")).split(" | ")
    assert plain[3] == "0 (0%)" and plain[5] == "-"
    assert "X?  0  color=red 1.00" in lines and not any(line.startswith("| `minimal_hard`") for line in lines)
    notes = [line for line in lines if line.startswith("- ")]
    assert (
        len(notes) == 3
        and "seeds 1 to 2 (4 attempts, 3 of a run at most) on CPU" in notes[1]
        and notes[0].startswith("- `minimal`: `train_task_and_talk.py --seed 1`; 300 steps, 2.0 min")
    )
    assert notes[2].endswith("Two runs only.")
