import json
import runpy
import sys
from pathlib import Path

import pytest

from hf_lvm.metrics.semantic_parsing.semantic_parsing import compute_semantic_parsing

RECIPES = Path(__file__).parents[2] / "recipes"
GOLD = ["( f a b )", "( f b a )", "( and ( f a ) ( g b ) )"]
SIGNATURES = ["def read(self): pass", "def close(file): pass"]
SWAPPED = "( and ( g b ) ( f a ) )"


@pytest.fixture(scope="module")
def table_of():
    """The function that makes the tables of a folder of results."""
    sys.path.insert(0, str(RECIPES))
    try:
        from struct_vae_table import struct_vae_table
    finally:
        sys.path.remove(str(RECIPES))
    return struct_vae_table


def run_of(label_seed: int, predictions: list[list[str]], **more) -> dict:
    nearest, usual = (compute_semantic_parsing(own, GOLD) for own in (GOLD[:1] * 3, GOLD[1:2] * 3))
    parsing = compute_semantic_parsing(predictions, GOLD) | {"underivable": 1}
    return {
        "settings": {"seed": 7, "label_seed": label_seed, "joint_weight": 1.0, "unlabelled_weight": 0.0},
        "corpus": "three meanings", "steps": 1200, "training_seconds": 120.0, "hardware": "CPU",
        "versions": {"torch": "2", "transformers": "5"}, "left_out": {"test": 2},
        "prior_meanings": {"labelled": 500, "train": 0, "extra": 30, "extra_held_out": 4, "validation": 1, "test": 9},
        "test": {
            "parsing": parsing,
            "controls": {"nearest_neighbour": nearest, "majority_template": usual},
            "likelihood": {"nats_per_sentence": 20.0 + label_seed},
        },
    } | more  # fmt: skip


def write(folder: Path, name: str, results: dict) -> None:
    (folder / f"{name}.json").write_text(json.dumps(results))


def test_a_row_has_its_seeds_its_controls_and_the_published_number(table_of, tmp_path):
    write(tmp_path, "atis_500_labels_seed2", run_of(2, [[GOLD[0], GOLD[1]], [GOLD[0], GOLD[1]], [SWAPPED, GOLD[2]]]))
    write(tmp_path, "atis_500_labels_seed1", run_of(1, [[each, GOLD[0]] for each in GOLD]))
    write(tmp_path, "geo_all", run_of(0, [[each] for each in GOLD], remark="Not to be trusted."))
    lines = table_of(tmp_path).splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("| `atis_500_labels` |"))
    cells = [cell.strip() for cell in lines[place].strip("|").split("|")]
    assert cells[:4] == ["`atis_500_labels`", "500 labels and nothing else", "83.3 (100.0, 66.7)", "63.2"]
    assert cells[5] == "100.0 (k = 2)" and cells[-2:] == ["21.50 (21.00, 22.00)", "1, 2"]
    assert "nearest labelled utterance | 33.3 |" in lines[place + 1] and "the usual meaning | 33.3 |" in lines[place + 2]
    missing = next(line for line in lines if line.startswith("| `atis_500_self_training` |"))
    assert "| - | 65.3 | - |" in missing
    geo = next(line for line in lines if line.startswith("| `geo_all` |"))
    assert "| 100.0 | 88.6 |" in geo
    notes = [line for line in lines if line.startswith("- ")]
    assert len(notes) == 3 and notes[0].startswith("- `atis_500_labels`, label_seed 1, seed 7")
    assert "1 cannot be written" in notes[0] and "without 4 of held-out rows" in notes[0] and "2 rows left out" in notes[0]
    assert notes[2].endswith("Not to be trusted.")


def test_a_parser_that_was_trained_alone_has_no_likelihood(table_of, tmp_path):
    run = run_of(1, [[each] for each in GOLD])
    run["settings"]["joint_weight"] = 0.0
    write(tmp_path, "atis_all", run)
    line = next(line for line in table_of(tmp_path).splitlines() if line.startswith("| `atis_all` |"))
    assert line.endswith("| - | 1 |")


def measured(predictions: list[str], nats: float) -> dict:
    controls = {"nearest_neighbour": [SIGNATURES[0]] * 2, "majority_template": ["def f(self): pass"] * 2}
    return {
        "parsing": compute_semantic_parsing(predictions, SIGNATURES, "python"),
        "controls": {name: compute_semantic_parsing(own, SIGNATURES, "python") for name, own in controls.items()},
        "bound": {"nats_per_sentence": nats},
    }


def test_the_demo_by_seeds(table_of, tmp_path):
    runs = {}
    for seed, found in {3: SIGNATURES, 1: [SIGNATURES[0], "def close(x: pass"]}.items():
        runs[seed] = {
            "settings": {"seed": seed, "label_seed": 0, "num_labelled": 1500}, "corpus": "two lines", "hardware": "CPU",
            "training_seconds": 40.0, "test": measured(found, 50.0),
            "first_run": {"training_seconds": 60.0, "test": measured([SIGNATURES[0]] * 2, 61.25)},
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


def test_descriptions_of_django_are_cut_into_what_code_can_copy(tmp_path):
    main = runpy.run_path(str(RECIPES / "struct_vae" / "django_rows.py"))["main"]
    row = {"annotation": "call the method self.close, with 'a b'.", "code": " self.close('a b')"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    main(str(tmp_path), str(tmp_path / "cut"))
    cut = json.loads((tmp_path / "cut" / "train.jsonl").read_text())
    assert cut == row | {"annotation": "call the method self . close , with ' a b ' ."}
    with pytest.raises(SystemExit, match="no .jsonl file"):
        main(str(tmp_path / "nowhere"), str(tmp_path / "cut"))
