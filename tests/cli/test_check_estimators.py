import json

import pytest
import torch

from hf_lvm.cli.main import main
from tests.tiny_parts import perturb, tiny_classes, tiny_vae

WORDS = "abcdefghijklmnopqr"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A file of short texts of one-letter words."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    choices = torch.randint(len(WORDS), (60, 4), generator=torch.Generator().manual_seed(0)).tolist()
    path.write_text("".join(json.dumps({"body": " ".join(WORDS[index] for index in row)}) + "\n" for row in choices))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, word_processor):
    """Folder of a latent class model with its processor."""
    return save(tiny_classes(num_variables=2, num_classes=2), tmp_path_factory.mktemp("classes"), word_processor)


def save(model, folder, processor):
    perturb(model, 0.3).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_it_prints_a_table_and_writes_numbers_and_a_picture(tmp_path, capsys):
    names = ["exact", "rloo", "straight_through", "disarm"]
    arguments = ["--problems", "binary", "--estimators", *names, "--draws", "200", "--num_samples", "4"]
    assert main(["check-estimators", *arguments, "--output_dir", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "estimators.json").read_text())
    assert [row["estimator"] for row in results["estimators"]] == names
    assert [row["scored_latents"] for row in results["estimators"]] == [64, 4, 4, 4]
    assert results["estimators"][0]["variance"] < 1e-20 < results["estimators"][1]["variance"]
    assert all(name in output for name in names) and "biased by nature" in output and "summed" in output
    assert (tmp_path / "out" / "estimators.png").stat().st_size > 5_000
    assert results["versions"]["torch"] and results["settings"]["draws"] == 200


def test_a_model_and_texts_of_ones_own(trained, texts, tmp_path, capsys):
    names = ["exact", "rloo", "exact_topk", "gumbel_softmax"]
    options = ["--model", trained, "--dataset", texts, "--text_column", "body", "--num_texts", 3, "--device", "cpu"]
    options += ["--estimators", *names, "--draws", 60, "--num_samples", 2, "--output_dir", tmp_path / "out"]
    assert main(["check-estimators", *map(str, options)]) == 0
    output = capsys.readouterr().out
    assert f"{trained.name}, 3 texts of the train split: gradient of elbo" in output and "60 draws" in output
    results = json.loads((tmp_path / "out" / "estimators.json").read_text())
    exact, rloo, top, relaxed = results["estimators"]
    assert [row["estimator"] for row in results["estimators"]] == names
    assert exact["relative_bias"] < 1e-4 and exact["scored_latents"] == 4
    assert rloo["variance_over_rloo"] == 1.0 and rloo["p_value"] > 1e-4 < top["p_value"] and relaxed["is_biased"]
    assert (tmp_path / "out" / "estimators.png").stat().st_size > 5_000
    # A line a row, and no number cut.
    lines = [line for line in output.splitlines() if line.startswith(tuple(names))]
    assert len(lines) == 4 and "…" not in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problems", "quaternary"], "Unknown problem 'quaternary': choose among 'categorical', 'autoregressive', 'binary'"),
        (["--estimators", "reinforec"], "Unknown estimator 'reinforec'"),
        (["--problems", "categorical", "--estimators", "disarm"], "'disarm' does not go with the problem 'categorical'"),
        (["--draws", "5"], "draws must be at least 100"),
        (["--num_samples", "2"], "num_samples must be at least 3"),
        (["--problems", "binary", "--estimators", "disarm", "--num_samples", "5"], "set num_samples to an even number, not 5"),
        (["--dataset", "mine.txt"], "--dataset goes with --model"),
        (["--model", "mine", "--problems", "binary"], "--problems names toys that ship, and --model a model of your own"),
        (["--model", "no_such_folder"], "there is no folder 'no_such_folder'"),
        (["--model", "mine", "--num_texts", "0"], "--num_texts must be at least 1"),
    ],
)
def test_refusals_are_one_line(arguments, said, tmp_path, capsys):
    assert_refused(arguments, said, tmp_path, capsys)


def test_refusals_about_a_model_are_one_line(trained, texts, tmp_path, word_processor, capsys):
    vae = save(tiny_vae(), tmp_path / "vae", word_processor)
    conditional = save(tiny_classes(prior_type="conditional"), tmp_path / "conditional", word_processor)
    corpus = ["--dataset", texts, "--text_column", "body", "--device", "cpu"]
    for model, options, said in (
        (vae, corpus, "A 'hf_lvm_text_vae' model cannot be checked: estimators are compared on a vector of categories"),
        (conditional, corpus, "call hf_lvm.analysis.estimator_check.check_model"),
        (trained, [*corpus, "--enumeration_budget", 2], "at most 2: raise enumeration_budget"),
        (trained, [*corpus, "--objective", "marginal"], "such as objective 'elbo'"),
        (trained, ["--dataset", texts], "has no column 'text'; its columns are body"),
    ):
        assert_refused(["--model", model, *options], said, tmp_path / "out", capsys)


def assert_refused(arguments, said, output, capsys):
    assert main(["check-estimators", *map(str, arguments), "--output_dir", str(output)]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("hf-lvm check-estimators: error:") == 1
    assert not output.exists() or not list(output.iterdir())
