"""A conditional text VAE from a recipe to everything that reads its folder: one small run on texts with a column of topics."""

import csv
import itertools
import json
import random
import shlex

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import pipeline

import hf_lvm  # noqa: F401  (tells transformers of the pipelines)
from hf_lvm.analysis.feature_extraction import LatentExtractor
from hf_lvm.analysis.html_examples import read_examples
from hf_lvm.analysis.latent_features import LatentFeatures
from hf_lvm.analysis.text_latents import encode_texts
from hf_lvm.analysis.text_vae_report import report_on
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cards.usage import usage_code
from hf_lvm.cli.main import main as command_line
from hf_lvm.data import encode_dataset, load_texts
from hf_lvm.training.text_vae import main
from tests.trained_text_vae import CONFIG

SUBJECTS = {"felines": "cat purrs", "canines": "dog barks", "avians": "bird sings", "equines": "horse neighs"}
NOUNS = ("house", "tree", "river", "car", "boat", "field", "road", "hill", "mill", "lake", "barn", "wall")
SIZES = {"train": 64, "validation": 12, "test": 9}


def write_rows(folder):
    """Texts whose topic says who does what in them, log 4 nats, in words that no text has."""
    rows = [
        {"sentence": f"{article} {subject} near the {noun}", "topic": f"about {topic}"}
        for (topic, subject), article, noun in itertools.product(SUBJECTS.items(), ("a", "the"), NOUNS)
    ]
    random.Random(0).shuffle(rows)
    for split, size in SIZES.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["sentence", "topic"])
            writer.writeheader()
            writer.writerows(rows[:size])
        rows = rows[size:]
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("conditional")
    (place / "rows").mkdir()
    write_rows(place / "rows")
    # The encoder has half the run to tell topics apart, and their nats are free: p(z|c) foresees them.
    config = CONFIG.replace(": 8\n", ": 200\n").replace("max_steps: 24", "max_steps: 200\nautoencoder_warmup_steps: 0.5")
    (place / "run.yaml").write_text(config + "prior_type: conditional_gaussian\n")
    return place


def flags(place, *more):
    given = ["--config", place / "run.yaml", "--data_dir", place / "rows", "--text_column", "sentence", *more]
    return [*map(str, given)]


@pytest.fixture(scope="module")
def results(place):
    argv = flags(place, "--condition_column", "topic", "--output_dir", place / "run")
    return main(argv, "hf-lvm train")


@pytest.fixture(scope="module")
def trained(place, results):
    return load_trained(str(place / "run"), "encode_texts")


def test_the_report_says_what_the_condition_is_worth(place, results):
    assert results == json.loads((place / "run" / "results.json").read_text())
    assert results["settings"]["condition_column"] == "topic"
    test = results["test"]
    permuted = test["permuted_conditions"]
    # Of four topics, exchanged at random, about a quarter of the texts keep theirs.
    assert 0.05 < permuted["equal_share"] < 0.5
    for name in ("cost", "likelihood_cost", "prior_cost"):
        assert permuted[f"{name}_nats_per_sentence"] > 0 and permuted[f"{name}_standard_error"] > 0
    assert test["samples_given_conditions"].keys() == test["greedy_reconstruction"].keys()
    examples = read_examples((place / "run" / "examples.txt").read_text())
    assert examples.conditions and all(len(samples) == 4 for *_, samples in examples.conditions)
    assert {condition for condition, *_ in examples.conditions} <= {f"about {topic}" for topic in SUBJECTS}
    assert "Texts of a condition" in (place / "run" / "report.html").read_text()
    card = (place / "run" / "README.md").read_text()
    assert "column of the condition" in card and "sohn2015" in card and "cost of reading another text" in card


def test_the_cost_of_exchanged_conditions_is_that_of_the_model(place, results, trained):
    model, processor = trained
    texts = load_texts(data_dir=str(place / "rows"), text_column="sentence", condition_column="topic")["test"]
    encoded = encode_dataset(texts, processor, condition_column="condition", keep_columns=("text", "condition"))
    options = {"num_importance_samples": 0, "num_generated": 4, "num_interpolations": 0, "seed": 1}
    metrics = report_on(model, encoded, processor, **options).metrics
    assert "likelihood_cost_nats_per_sentence" not in metrics["permuted_conditions"]
    # A model whose prior and posterior do not listen to c loses nothing.
    deaf, _ = load_trained(str(place / "run"), "encode_texts")
    half = deaf.posterior_head.mean.weight.shape[1] // 2
    with torch.no_grad():
        for layer in (deaf.prior.mean, deaf.prior.log_variance):
            layer.weight.zero_()
        for layer in (deaf.posterior_head.mean, deaf.posterior_head.log_variance):
            layer.weight[:, half:] = 0
    permuted = report_on(deaf, encoded, processor, **options).metrics["permuted_conditions"]
    assert permuted["cost_nats_per_sentence"] == pytest.approx(0, abs=1e-5)
    assert permuted["prior_cost_nats_per_sentence"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="no column 'condition_input_ids'"):
        report_on(model, encode_dataset(texts, processor, keep_columns=("text", "condition")), processor, **options)


def test_commands(place, results, trained, capsys):
    def run(*argv):
        status = command_line([*map(str, argv)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    folder, topics = place / "run", ("about felines", "about canines")
    status, output, _ = run("sample", "--model", folder, "--num_texts", 2, "--condition", *topics)
    lines = output.splitlines()
    assert status == 0 and [line.split("\t")[0] for line in lines] == [topics[0]] * 2 + [topics[1]] * 2
    assert len(run("sample", "--model", folder, "--num_texts", 3, "--condition", topics[0])[1].splitlines()) == 3
    ends = ("a cat purrs near the house", "the dog barks near the road")
    status, output, _ = run("interpolate", *ends, "--model", folder, "--steps", 3, "--condition", *topics)
    model, processor = trained
    assert status == 0
    assert output.splitlines()[::2] == model.reconstruct(list(ends), conditions=list(topics), processor=processor)
    numbers = place / "numbers.json"
    quick = ("--num_importance_samples", 2, "--num_generated", 3, "--device", "cpu", "--output", numbers)
    texts = ("--model", folder, "--data_dir", place / "rows", "--text_column", "sentence")
    status, output, errors = run("evaluate", *texts, "--condition_column", "topic", "--max_samples", 4, *quick)
    assert status == 0 and "conditions exchanged" in output, errors
    assert json.loads(numbers.read_text())["test"]["permuted_conditions"]["cost_standard_error"] > 0
    for argv, message in (
        (("sample", "--model", folder), "give it with --condition"),
        (("interpolate", *ends, "--model", folder), "give it with --condition"),
        (("interpolate", *ends, "--model", folder, "--condition", "a", "b", "c"), "3 conditions for two texts"),
        (("evaluate", *texts, *quick), "--condition_column"),
        (("traverse", "--model", folder), "here there is none to move by"),
        (("arithmetic", "cat", "--model", folder), "here there is none to calculate by"),
    ):
        status, output, errors = run(*argv)
        assert status == 2 and not output and message in errors and len(errors.splitlines()) == 1, errors


def test_an_unconditional_model_refuses_conditions(trained_run, capsys):
    folder = str(trained_run.folder)
    for argv in (
        ["sample", "--model", folder, "--condition", "a"],
        ["interpolate", "a", "b", "--model", folder, "--condition", "a"],
        ["evaluate", "--model", folder, "--condition_column", "a"],
    ):
        assert command_line(argv) == 2
        assert "is none: leave it out" in capsys.readouterr().err, shlex.join(argv)
    with pytest.raises(ValueError, match="reads no condition: leave it out"):
        pipeline("latent-generation", model=folder)({"condition": "a"})
    with pytest.raises(ValueError, match="reads no text: leave it out"):
        main([*flags_of(trained_run), "--condition_column", "topic"])


def flags_of(trained_run):
    return ["--config", str(trained_run.config), "--dataset", str(trained_run.texts), "--output_dir", "nowhere"]


def test_pipelines_and_features(place, results, trained):
    model, processor = trained
    texts, topics = ["a cat purrs near the house", "the dog barks near the road"], ["about felines", "about canines"]
    expected = model.encode_texts(texts, conditions=topics, processor=processor)
    rows = [{"text": text, "condition": topic} for text, topic in zip(texts, topics, strict=True)]
    encode = pipeline("latent-encoding", model=str(place / "run"))
    found = encode(rows, batch_size=2)
    np.testing.assert_allclose([row["latent"] for row in found], expected.mode.tolist(), rtol=1e-4, atol=1e-5)
    write = pipeline("latent-generation", model=str(place / "run"))
    assert write(rows[0])[0]["generated_text"] == model.reconstruct(texts[:1], conditions=topics[:1], processor=processor)[0]
    torch.manual_seed(0)
    drawn = write([{"condition": topic} for topic in topics], return_latents=True)
    assert len(drawn) == 2 and drawn[0][0]["latent"] != drawn[1][0]["latent"]
    for bad, call in (("a text", encode), ("a text", write), (None, write), ({"text": "a"}, encode)):
        with pytest.raises(ValueError, match="reads a condition"):
            call(bad)
    with pytest.raises(ValueError, match="latent alone"):
        write({"latent": [0.0] * 4, "condition": "a"})
    extract = LatentExtractor(model, processor, condition_column="topic")
    mapped = Dataset.from_dict({"text": texts, "topic": topics}).map(extract, batched=True, load_from_cache_file=False)
    np.testing.assert_allclose(mapped["latents"][:], expected.mode.tolist(), rtol=1e-4, atol=1e-5)
    for given, message in ((None, "pass condition_input_ids"), (topics[:1], "1 conditions for 2 texts"), ("a", "one string")):
        with pytest.raises(ValueError, match=message):
            extract.features(texts, given)
    with pytest.raises(ValueError, match="no column 'topic'.*condition_column"):
        extract({"text": texts})
    with pytest.raises(ValueError, match="scikit-learn hands over texts alone"):
        LatentFeatures(model, processor).fit(texts)
    with pytest.raises(ValueError, match="here are texts alone"):
        encode_texts(model, texts, processor)


def test_the_code_of_the_card_runs(place, results, capsys):
    exec(compile(usage_code(results["settings"], str(place / "run")), "card", "exec"), {})
    assert "torch.Size([1, 4])" in capsys.readouterr().out


def test_a_run_without_what_it_needs_is_refused(place, results):
    with pytest.raises(ValueError, match="no condition_column says what that text is"):
        main(flags(place, "--model", place / "run", "--output_dir", place / "no"))
    with pytest.raises(ValueError, match="no condition_column says what that text is"):
        main(flags(place, "--output_dir", place / "no"))
    with pytest.raises(ValueError, match="no column 'subject'.*Name one of them with condition_column"):
        main(flags(place, "--condition_column", "subject", "--output_dir", place / "no"))
    with pytest.raises(ValueError, match="both 'sentence'"):
        main(flags(place, "--condition_column", "sentence", "--output_dir", place / "no"))
