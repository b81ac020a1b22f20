"""The comparison with few labels, in small: every row is trained, chosen, tested and written, and a stopped run goes on."""

import json
import random
import runpy
from pathlib import Path

import pytest
import yaml

from hf_lvm.training.language_model import main as train_language_model

# It trains a dozen models for a table that is made by hand.
pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPT = runpy.run_path(str(RECIPES / "benchmarks" / "few_labels.py"))
WORDS = (["bad", "cold", "slow"], ["good", "warm", "quick"])
THINGS = ["soup", "bread", "room", "desk"]
SMALL = {
    "yelp_labels.yaml": {"per_device_train_batch_size": 4, "max_steps": 20, "eval_steps": 10, "save_steps": 10},
    "yelp_few_labels.yaml": {
        "max_steps": 4, "fixed_encoder_steps": 2, "eval_steps": 2, "save_steps": 2, "per_device_train_batch_size": 16,
        "labelled_share": 0.25, "num_classes": [2, 3], "unlabelled_weight": 3, "classification_weight": 3,
        "decoder_hidden_size": 16, "decoder_num_attention_heads": 2,
    },
    "yelp_writer.yaml": {"per_device_train_batch_size": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The comparison on made-up sentences with one seed, two settings a row and a few steps; a function that runs it again."""
    folder, chooser = tmp_path_factory.mktemp("few_labels"), random.Random(0)
    for name, count in (("train", 96), ("validation", 24), ("test", 24)):
        rows = []
        for number in range(count):
            label = number % 2
            rows.append({"text": f"the {chooser.choice(THINGS)} was {chooser.choice(WORDS[label])}", "label": label})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    recipes = folder / "recipes"
    recipes.mkdir()
    for name, changes in SMALL.items():
        recipe = yaml.safe_load((RECIPES / "latent_class" / name).read_text())
        (recipes / name).write_text(yaml.safe_dump(recipe | changes))
    language_model = [
        "--config", RECIPES / "latent_class" / "yelp_language_model.yaml", "--data_dir", folder, "--output_dir", folder / "lm",
        "--decoder_hidden_size", 16, "--decoder_num_attention_heads", 2, "--num_train_epochs", 1, "--use_cpu",
        "--per_device_train_batch_size", 16, "--disable_tqdm", "true", "--report_to", "none",
    ]  # fmt: skip
    train_language_model([str(flag) for flag in language_model])
    grids = {
        "bag_of_words": [{"C": 1, "words": 1}, {"C": 10, "words": 1}],
        "encoder": [{"learning_rate": 1e-2}, {"learning_rate": 1e-3}],
        "pretrained": [{"learning_rate": 1e-2}],
        "semi_supervised": [{"kl_end": 0.5}],
    }
    namespace = SCRIPT["main"].__globals__
    namespace.update(GRIDS=grids, RECIPES=recipes, WRITTEN=10)

    def run(*more):
        flags = [
            "--data_dir", folder, "--language_model", folder / "lm", "--folder", folder / "runs",
            "--labels", 8, "--seeds", 0, 1, "--output", folder / "results.json",
        ]  # fmt: skip
        SCRIPT["main"]([str(flag) for flag in [*flags, *more]])
        return json.loads((folder / "results.json").read_text())

    return run(), run, folder


def test_every_row_is_chosen_on_validation_and_tested_with_each_seed(compared):
    results, _, _ = compared
    assert [(row["row"], row["seed"]) for row in results["rows"]] == [
        (row, seed) for row in ("bag_of_words", "encoder", "pretrained", "semi_supervised") for seed in (0, 1)
    ]
    # Supervised settings are tried with each seed, those of the semi-supervised row with the first, and chosen with both.
    assert len(results["trials"]) == 4 + 4 + 2 + 2
    for row in results["rows"]:
        tried = [
            sum(trial["validation_accuracy"] for trial in results["trials"] if trial["settings"] == settings) / 2
            for settings in SCRIPT["main"].__globals__["GRIDS"][row["row"]]
        ]
        if row["row"] in ("bag_of_words", "encoder"):
            chosen = SCRIPT["main"].__globals__["GRIDS"][row["row"]].index(row["settings"])
            assert tried[chosen] == max(tried)
        assert 0 <= row["accuracy"] <= 1 and ("accuracy_by_bayes" in row) == (row["row"] == "semi_supervised")


def test_the_semi_supervised_encoder_goes_on_from_the_one_that_read_the_labels(compared):
    _, _, folder = compared
    config = json.loads(next((folder / "runs").glob("semi_supervised_8_0_*/config.json")).read_text())
    assert config["summed_variables"] == 1 and config["num_classes"] == [2, 3]
    assert config["unlabelled_weight"] == config["classification_weight"] == 3
    results = json.loads(next((folder / "runs").glob("pretrained_8_1_*/trainer_state.json")).read_text())
    assert results["global_step"] == 20


def test_what_is_written_is_judged_beside_real_sentences(compared):
    results, _, folder = compared
    assert [(writer["labels"], writer["seed"]) for writer in results["writers"]] == [(8, 0), (8, 1)]
    for writer in results["writers"]:
        assert writer["judge_on_test"] > 0.9 and 0 <= writer["as_asked"] <= 1
        assert writer["written"]["sentences"] == writer["real"]["sentences"] == 20
    assert len((folder / "runs" / "writer_8_0" / "written.txt").read_text().splitlines()) == 20


def test_what_stands_in_the_output_is_not_trained_again(compared):
    results, run, folder = compared
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("model.safetensors")}
    again = run()
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("model.safetensors")} == before
    assert again["rows"] == results["rows"] and again["trials"] == results["trials"]
