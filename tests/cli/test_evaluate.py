"""`hf-lvm evaluate`: the numbers of the run again, one table, one file, and no file of somebody else written over."""

import json

import pytest

from tests.cli.test_commands import assert_one_line_error, run


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def evaluate(capsys, trained_run):
    """Status, output and errors of an evaluation of the trained run on its own texts."""

    def of(*options, texts=trained_run.texts):
        return run(capsys, "evaluate", "--model", trained_run.folder, "--dataset", texts, "--seed", 42, *options)

    return of


def test_the_numbers_of_the_run_on_the_same_split(evaluate, trained_run, tmp_path):
    status, output, _ = evaluate("--num_importance_samples", 5, "--num_generated", 6)
    assert status == 0
    results, reported = json.loads((tmp_path / "results.json").read_text()), trained_run.results["test"]
    measured = results["test"]
    assert measured.keys() == reported.keys()
    for name in ("bound", "importance_weighted"):
        assert measured[name] == pytest.approx(reported[name], rel=1e-5)
        assert f"{measured[name]['nats_per_sentence']:.2f} nats/sentence" in output
    assert f"Test split, {measured['bound']['sentences']} sentences" in output
    for instrument in ("-ELBO", "KL(q(z|x) || p(z))", "with 1 of them", "active units", "mutual information", "in batches",
                       "KL per dimension", "latent-usage gap", "token accuracy", "reconstruction BLEU", "exact match",
                       "self-BLEU", "bits/byte", "perplexity", "closed form"):  # fmt: skip
        assert instrument in output
    assert "left out" not in output and "inference gap" not in output
    assert results["command"].startswith("hf-lvm evaluate --model")
    assert results["settings"]["num_importance_samples"] == 5 and results["settings"]["seed"] == 42
    assert {"hardware", "versions", "evaluation_seconds", "corpus"} <= results.keys()
    assert trained_run.texts.name in results["corpus"]


def test_an_evaluation_is_written_over_and_nothing_else(evaluate, tmp_path, trained_run):
    options = ("--split", "validation", "--max_samples", 4, "--num_importance_samples", 0, "--num_generated", 2)
    for _ in range(2):
        status, output, _ = evaluate(*options, "--output", tmp_path / "numbers.json")
        assert status == 0 and "Validation split, 4 sentences" in output and "-log p(x)," not in output
    assert json.loads((tmp_path / "numbers.json").read_text())["validation"]["bound"]["sentences"] == 4
    assert not (tmp_path / "results.json").exists()

    before = (trained_run.folder / "results.json").read_bytes()
    refused = evaluate(*options, "--output", trained_run.folder / "results.json")
    assert_one_line_error(*refused, "hf-lvm evaluate", "results.json is there already", "--output")
    assert (trained_run.folder / "results.json").read_bytes() == before
    assert_one_line_error(*evaluate("--output", tmp_path), "hf-lvm evaluate", "is a folder", "evaluation.json")
    missing = evaluate("--output", tmp_path / "nowhere" / "numbers.json")
    assert_one_line_error(*missing, "hf-lvm evaluate", "no folder", "nowhere")


def test_costly_instruments_and_all_texts_on_request(evaluate, trained_run, tmp_path):
    quick = ("--num_importance_samples", 0, "--num_generated", 2)
    status, output, _ = evaluate(*quick, "--split", "all", "--inference_gap", 1)
    assert status == 0
    lines = len(trained_run.texts.read_text().splitlines())
    assert f"All texts, {lines} sentences" in output
    assert "inference gap" in output and "amortization" in output and "on 1 sentences" in output
    metrics = json.loads((tmp_path / "results.json").read_text())["all"]
    assert metrics["bound"]["sentences"] == lines and metrics["inference_gap"]["sentences"] == 1


def test_the_samples_of_the_run_are_the_default_and_noise_is_measured_on_request(evaluate, tmp_path):
    status, output, _ = evaluate("--num_generated", 4, "--max_samples", 6, "--noise_robustness", 0.4)
    assert status == 0 and "q(z|x) moves without 40% of the words" in output and "content words recovered from" in output
    metrics = json.loads((tmp_path / "results.json").read_text())["test"]
    assert metrics["importance_weighted"]["num_samples"] == 5, "as in the settings of the run"
    assert metrics["noise_robustness"]["sentences"] == 4 and metrics["noise_robustness"]["kl_nats"] > 0
    assert_one_line_error(*evaluate("--noise_robustness", 1), "hf-lvm evaluate", "--noise_robustness 1.0", "below 1")


def test_samples_are_judged_on_request(evaluate, tmp_path):
    quick = ("--num_importance_samples", 0, "--num_generated", 2)
    status, output, _ = evaluate(*quick, "--reverse_perplexity", "--judge_steps", 3)
    assert status == 0
    judged = json.loads((tmp_path / "results.json").read_text())["test"]["reverse_perplexity"]
    assert judged["protocol"]["steps"] == 3
    assert f"{judged['reverse']['word_perplexity']:.2f} per word" in output
    assert f"samples for 3 steps; {judged['real']['word_perplexity']:.2f} when trained on as many texts" in output
    assert f"{judged['forward']['word_perplexity']:.2f} per word" in output
    assert_one_line_error(
        *evaluate("--reverse_perplexity", "--judge_steps", 0), "hf-lvm evaluate", "--judge_steps 0", "1 or more"
    )


def test_reverse_perplexity_needs_texts_the_judge_has_not_seen(evaluate):
    for split in ("train", "all"):
        refused = evaluate("--reverse_perplexity", "--split", split)
        assert_one_line_error(*refused, "hf-lvm evaluate", f"--split {split}", "--split test")


def test_nothing_is_written_where_no_text_is_asked_for(evaluate, tmp_path):
    options = ("--max_samples", 4, "--num_importance_samples", 0, "--num_generated")
    status, output, _ = evaluate(*options, 0)
    assert status == 0 and "token accuracy" in output and "BLEU" not in output and "interpolations" not in output
    metrics = json.loads((tmp_path / "results.json").read_text())["test"]
    assert {"bound", "latent"} <= metrics.keys() and not {"greedy_reconstruction", "interpolation"} & metrics.keys()
    for number in (1, -1):
        assert_one_line_error(*evaluate(*options, number), "hf-lvm evaluate", f"--num_generated {number}", "2 or more")
    refused = evaluate(*options, 0, "--noise_robustness", 0.2)
    assert_one_line_error(*refused, "hf-lvm evaluate", "--noise_robustness", "--num_generated 2 or more")


def test_texts_the_model_has_no_positions_for(evaluate, tmp_path):
    texts = tmp_path / "long.txt"
    texts.write_text("".join(f"the cat {number} " + "the dog " * 20 + "\n" for number in range(100)))
    assert_one_line_error(*evaluate(texts=texts), "hf-lvm evaluate", "positions", "max_length")
