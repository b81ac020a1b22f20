"""The table of the demo: every number from the results, beside that of what needs no parser."""

import json
import sys
from pathlib import Path

import pytest

from hf_lvm.metrics.semantic_parsing.semantic_parsing import compute_semantic_parsing

RECIPES = Path(__file__).parents[2] / "recipes"
GOLD = ["def read(self): pass", "def close(file): pass"]


@pytest.fixture(scope="module")
def table_of():
    """The function that makes the tables of a folder of results."""
    sys.path.insert(0, str(RECIPES))
    try:
        from struct_vae_table import struct_vae_table
    finally:
        sys.path.remove(str(RECIPES))
    return struct_vae_table


def measured(predictions: list[str], nats: float) -> dict:
    controls = {"nearest_neighbour": [GOLD[0]] * 2, "majority_template": ["def f(self): pass"] * 2}
    return {
        "parsing": compute_semantic_parsing(predictions, GOLD, "python"),
        "controls": {name: compute_semantic_parsing(own, GOLD, "python") for name, own in controls.items()},
        "bound": {"nats_per_sentence": nats},
    }


def test_the_demo_by_seeds(table_of, tmp_path):
    runs = {}
    for seed, found in {3: GOLD, 1: [GOLD[0], "def close(x: pass"]}.items():
        runs[seed] = {
            "settings": {"seed": seed, "label_seed": 0, "num_labelled": 1500}, "corpus": "two lines", "hardware": "CPU",
            "training_seconds": 40.0, "test": measured(found, 50.0),
            "first_run": {"training_seconds": 60.0, "test": measured([GOLD[0]] * 2, 61.25)},
        }  # fmt: skip
        (tmp_path / f"demo_seed{seed}.json").write_text(json.dumps(runs[seed]))
    text = table_of(tmp_path)
    rows = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 3 |"))]
    template = runs[3]["test"]["controls"]["majority_template"]["token_f1"]
    nearest = runs[3]["test"]["controls"]["nearest_neighbour"]["token_f1"]
    # By seed; with a parse that has no tree, half of them are well formed.
    assert [row.split(" | ")[7] for row in rows] == ["50.0%", "100.0%"]
    assert rows[1] == (
        f"| 3 | {nearest:.3f} | 1.000 | {nearest:.3f} | {template:.3f} | 50.0 | 100.0 | 100.0% | 61.25 | 50.00 | 100 |"
    )
    assert "1,500 labels" in text and "two lines" in text and "Mean token F1 of 2 seeds" in text
