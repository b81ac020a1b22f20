import json
import sys
from pathlib import Path

import pytest

from hf_lvm.metrics.language_structure.language_structure import compute_language_structure
from hf_lvm.metrics.language_structure.lexicon import lexicon_rows, lexicon_table

RECIPES = Path(__file__).parents[2] / "recipes"
MEANINGS = [[0, 0], [0, 1], [1, 0], [1, 1]]
CODE, HOLISTIC = [[0, 2], [0, 3], [1, 2], [1, 3, 1]], [[0, 2], [1, 3], [1, 2], [0, 3]]


@pytest.fixture(scope="module")
def table_of():
    """The function that makes the tables of a folder of results."""
    sys.path.insert(0, str(RECIPES))
    try:
        from referential_game_table import referential_game_table
    finally:
        sys.path.remove(str(RECIPES))
    return referential_game_table


def run_of(seed: int, messages: list[list[int]], accuracy: float, **more) -> dict:
    return {
        "settings": {"seed": seed, "objects": "attributes"}, "corpus": "four objects", "steps": 1200,
        "training_seconds": 120.0, "hardware": "CPU", "versions": {"torch": "2", "transformers": "5"},
        "test": {
            "accuracy": accuracy, "sampled_accuracy": accuracy - 0.1, "chance": 0.25, "mean_length": 2.25,
            "distinct_messages": 4, "bound": {"reconstruction": 0.5, "kl": 3.0},
        },
        "language": compute_language_structure(messages, MEANINGS, correct=[1.0, 1.0, 1.0, accuracy], num_permutations=2),
        "lexicon": {"position": lexicon_table(lexicon_rows(messages, MEANINGS)).splitlines()},
    } | more  # fmt: skip


def test_rows_lengths_lexicons_and_notes(table_of, tmp_path):
    for seed, messages, accuracy in ((2, CODE, 0.75), (1, CODE, 1.0)):
        (tmp_path / f"attributes_straight_through_seed{seed}.json").write_text(json.dumps(run_of(seed, messages, accuracy)))
    hinge = run_of(1, HOLISTIC, 0.5, remark="Not to be trusted.")
    del hinge["test"]["bound"]
    (tmp_path / "attributes_rloo_seed1.json").write_text(json.dumps(hinge))
    lines = table_of(tmp_path).splitlines()
    row = next(
        line for line in lines if line.startswith("| `attributes_straight_through` | straight-through, no worth of entropy |")
    )
    assert "| 87.5 ± 17.7 (100.0, 75.0) | 25.0 | 2.25 ± 0.00 (2.25, 2.25) |" in row and row.endswith("| 1, 2 |")
    assert next(line for line in lines if line.startswith("| `attributes_rloo` | score")).split(" | ")[6:8] == ["-", "-"]
    missing = next(line for line in lines if line.startswith("| `attributes_fixed` |"))
    assert missing.endswith("| - |") and missing.count("| -") == 10
    assert any(line.startswith("| `text_latents_state_rloo` |") for line in lines)
    # Two seeds of four messages: three of two symbols, one of three, which is won at 75% once.
    length = next(line for line in lines if line.startswith("| `attributes_straight_through` | 100.0%"))
    assert length == "| `attributes_straight_through` | 100.0% of 6 | 87.5% of 2 |"
    # The code beside the other.
    head = next(line for line in lines if "attributes_rloo, seed 1: " in line)
    assert head.startswith("attributes_straight_through, seed 2: ") and "accuracy 75.0%" in head and "accuracy 50.0%" in head
    assert any("0@0" in line and line.count("attribute 0=0") == 1 for line in lines)
    notes = [line for line in lines if line.startswith("- ")]
    assert (
        len(notes) == 3 and "four objects; 1,200 steps, 2 min on CPU" in notes[0] and notes[2].endswith("Not to be trusted.")
    )


def test_nothing_measured_is_a_table_of_dashes(table_of, tmp_path):
    text = table_of(tmp_path)
    assert "Games that are won" not in text and "```" not in text and text.count("| `attributes_") == 9
