import json
import statistics
import sys
from pathlib import Path

import pytest

from hf_lvm.metrics.compression.compression import compute_compression

RECIPES = Path(__file__).parents[2] / "recipes"
SOURCES = ["the old cat sat on the mat all day", "a dog barks at the moon"]
REFERENCES = ["the cat sat on the mat", "a dog barks"]


@pytest.fixture(scope="module")
def table_of():
    """The function that makes the tables of a folder of results."""
    sys.path.insert(0, str(RECIPES))
    try:
        from latent_summarizer_table import latent_summarizer_table
    finally:
        sys.path.remove(str(RECIPES))
    return latent_summarizer_table


def scores_of(predictions: list[str], **options) -> dict:
    scores = compute_compression(predictions, REFERENCES, SOURCES, **options)
    return {"own length": scores | {"explained_nats_per_word": 2.5}}


def run_of(seed: int, predictions: list[str]) -> dict:
    return {
        "settings": {"seed": seed}, "corpus": "two sentences", "epochs": 3.0, "training_seconds": 120.0, "hardware": "CPU",
        "versions": {"torch": "2", "transformers": "5"},
        "test": {"compression": scores_of(predictions), "likelihood": {"nats_per_sentence": 40.0}},
    }  # fmt: skip


def write(folder: Path, name: str, results: dict) -> None:
    (folder / f"{name}.json").write_text(json.dumps(results))


def test_rows_seeds_and_other_domains_beside_their_controls(table_of, tmp_path):
    found = {7: ["the cat on the mat", "dog barks"], 3: ["cat sat on mat", "a dog barks"]}
    for seed, predictions in found.items():
        write(tmp_path, f"google_1000_seed{seed}", run_of(seed, predictions))
    recall = scores_of(found[3], limit_bytes=75, multiple_references="mean")
    write(tmp_path, "google_1000_seed3_others", {"settings": {"seed": 0}, "sets": {"duc2004": {"compression": recall}}})
    write(tmp_path, "another", run_of(1, found[3]))
    lines = table_of(tmp_path).splitlines()

    own = {seed: scores_of(predictions)["own length"] for seed, predictions in sorted(found.items())}
    place = next(place for place, line in enumerate(lines) if line.startswith("| `google_1000` |"))
    rouge = [scores["rouge1"] for scores in own.values()]
    assert f"{statistics.mean(rouge):.2f} ({rouge[0]:.2f}, {rouge[1]:.2f})" in lines[place] and "| 3, 7 |" in lines[place]
    controls = [scores["controls"]["first_k"] for scores in own.values()]
    assert "first words, as many" in lines[place + 1]
    assert f"{statistics.mean(each['rouge2'] for each in controls):.2f} (" in lines[place + 1]
    # That of the whole text is the same whatever the model.
    assert f"| the whole text |  | {controls_of(own, 'keep_all')['token_f1']:.3f} |" in lines[place + 3]
    assert any(line.startswith("| `another` |") for line in lines)
    assert sum(line.startswith("| `google_supervised` |") and "| - |" in line for line in lines) == 1

    other = next(line for line in lines if line.startswith("| DUC-2004"))
    assert f"ROUGE-1 recall of 75 bytes {recall['own length']['rouge1_recall']:.2f}" in other and "| 3 |" in other
    assert sum("two sentences; 3 epochs, 2 min on CPU" in line for line in lines) == 3


def controls_of(own: dict[int, dict], control: str) -> dict:
    return next(iter(own.values()))["controls"][control]


def test_each_seed_of_the_demo_beside_its_controls(table_of, tmp_path):
    for seed, prediction in ((42, "the cat sat"), (1, "mat all day")):
        write(tmp_path, f"demo_seed{seed}", run_of(seed, [prediction, "a dog"]))
    text = table_of(tmp_path)
    for seed, prediction in ((42, "the cat sat"), (1, "mat all day")):
        scores = scores_of([prediction, "a dog"])["own length"]
        assert f"| {seed} | own length | {scores['rouge1']:.2f} | {scores['controls']['first_k']['rouge1']:.2f} |" in text
    assert "Mean of 2 seeds: own length" in text and "`demo`" not in text
