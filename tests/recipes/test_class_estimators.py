"""The estimators side by side: same start, same sentences, an own row each, and a run that goes on where it was stopped."""

import json
import random
import runpy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

# It trains a model with every estimator for a table that is made by hand.
pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPT = runpy.run_path(str(RECIPES / "benchmarks" / "class_estimators.py"))
SMALL = {
    "encoder_hidden_size": 8, "decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "num_classes": 3,
    "min_words": 1, "vocab_size": 30, "per_device_train_batch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The recipe in small on a few made-up sentences, three steps of every row; a function that runs it again."""
    folder, chooser = tmp_path_factory.mktemp("estimators"), random.Random(0)
    words = ["cat", "dog", "bird", "saw", "drill", "nail"]
    for name, count in (("train", 24), ("validation", 8), ("test", 8)):
        texts = [" ".join(["the", *chooser.choices(words, k=chooser.choice([2, 4]))]) for _ in range(count)]
        (folder / f"{name}.txt").write_text("\n".join(texts) + "\n")
    recipe = yaml.safe_load((RECIPES / "latent_class" / "documentation.yaml").read_text())
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe | SMALL | {"data_dir": str(folder)}))

    def run(*more):
        output = folder / "results" / "estimators.json"
        flags = ["--config", folder / "small.yaml", "--steps", 3, "--every", 2, "--output", output]
        SCRIPT["main"]([str(flag) for flag in [*flags, *more]])
        return json.loads(output.read_text())

    return run("--figure", folder / "results" / "estimators.png"), run, folder / "results"


def test_every_row_begins_alike_and_is_trained_in_its_own_way(compared):
    results, _, folder = compared
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == list(SCRIPT["ESTIMATORS"])
    summed_or_sampled = {name: row for name, row in rows.items() if name != "one_class"}
    assert len({row["curve"][0]["nats_per_sentence"] for row in summed_or_sampled.values()}) == 1
    # exact_topk with four values of three is `exact`.
    assert len({row["curve"][-1]["nats_per_sentence"] for row in summed_or_sampled.values()}) == len(summed_or_sampled) - 1
    for name, row in rows.items():
        assert [point["step"] for point in row["curve"]] == [0, 2, 3] and row["steps"] == 3
        assert row["curve"][-1]["seconds"] == pytest.approx(row["seconds"]) and row["seconds"] > 0
        assert ("by_bayes" in row["test"]) == (name != "one_class")
        assert ("inference_gap" in row["test"]) == (name not in ("marginal", "one_class"))
        assert row["test"].get("inference_gap", 1.0) > 0
    assert (folder / "estimators.png").stat().st_size > 10_000


def test_rows_that_are_there_are_kept_and_do_not_stand_beside_others(compared, capsys):
    results, run, _ = compared
    assert run("--estimators", "marginal", "rloo") == results
    with pytest.raises(SystemExit):
        run("--validation_sentences", 5)
    assert "has rows of other settings" in capsys.readouterr().err


def test_the_table_has_a_line_for_every_row(compared, tmp_path):
    results, _, folder = compared
    (tmp_path / "estimators.json").write_bytes((folder / "estimators.json").read_bytes())
    demo = RECIPES / "latent_class" / "results" / "demo.json"
    (tmp_path / "demo.json").write_bytes(demo.read_bytes())
    table = runpy.run_path(str(RECIPES / "latent_class_table.py"))["latent_class_table"](tmp_path)
    lines = table.splitlines()
    (demo_line,) = [line for line in lines if line.startswith("| `hf-lvm demo latent-class` |")]
    assert lines.index(demo_line) == 2
    for row in results["rows"]:
        on_test, on_validation = [line.split(" | ") for line in lines if line.startswith(f"| `{row['name']}` |")]
        assert on_test[4] == f"{row['test']['likelihood']['nats_per_sentence']:.2f}"
        assert on_validation[-1] == f"{row['curve'][-1]['nats_per_sentence']:.2f} |"


def test_the_clock_stands_still_while_it_measures():
    clock = SCRIPT["Clock"](1, lambda model: time.sleep(0.3) or 1.0)
    clock.on_train_begin(None, None, None)
    for step in (1, 2):
        time.sleep(0.02)
        clock.on_step_end(None, SimpleNamespace(global_step=step, max_steps=2), None)
    assert 0.04 <= clock.curve[-1]["seconds"] < 0.3
