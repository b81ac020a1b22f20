"""`hf-lvm evaluate` of a model that compresses: bound and compressions, one reference or several, beside their controls."""

import itertools
import json

import pytest
from datasets import Dataset
from transformers import AutoModel

from hf_lvm.cli.evaluate_summaries import references_of
from hf_lvm.metrics.compression.compression import compute_compression
from tests.cli.test_commands import assert_one_line_error, run
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer

# All different, and so many that each split has some.
TEXTS = [" ".join(words) for words in itertools.permutations("abcdef", 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory, word_processor):
    folder = tmp_path_factory.mktemp("summarizer")
    tiny_summarizer(perturbation=0.4).save_pretrained(folder)
    word_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Each text with two references, the second an empty one in one row, and signs for one that is none of them."""
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = []
    for number, text in enumerate(TEXTS):
        words = [*text.split(), *"abc"[: number % 3]]
        several = [" ".join(words[:2]), "" if number == 1 else " ".join(words[1:])]
        row = {"text": " ".join(words), "summary": words[0], "several": several, "keep": ("01" * 9)[: len(words)]}
        lines.append(json.dumps(row))
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def evaluate(capsys, model, rows, tmp_path):
    def of(*options):
        status = run(capsys, "evaluate", "--model", model, "--dataset", rows, "--split", "all", *options,
                     "--output", tmp_path / "numbers.json")  # fmt: skip
        file = tmp_path / "numbers.json"
        return status, json.loads(file.read_text()) if file.exists() else None

    return of


def test_bound_and_compressions_beside_their_controls(evaluate):
    (status, output, _), results = evaluate("--report_ratios", "0.5", "--report_words", "2")
    measured = results["all"]
    assert status == 0 and measured["likelihood"]["exact"]
    assert measured["likelihood"]["nats_per_sentence"] < measured["bound"]["nats_per_sentence"]
    assert list(measured["compression"]) == ["own length", "expected F1", "ratio 0.5", "2 words"]
    for name, scores in measured["compression"].items():
        assert f"ROUGE-1, {name}" in output and f"{scores['gain_over_first_k']['rouge1']:+.2f} over the first words" in output
        assert f"{scores['explained_nats_per_word']:.2f} nats" in output
        assert scores["reference_compression_ratio"] == pytest.approx(120 / scores["source_words"])
    assert f"{measured['bound']['nats_per_sentence']:.2f} nats/sentence" in output and "All texts, 120 sentences" in output


def test_several_references_by_the_definition_that_is_asked_for(evaluate, model, rows, word_processor):
    (status, output, _), results = evaluate(
        "--summary_column", "several", "--multiple_references", "mean", "--limit_bytes", "7"
    )
    scores = results["all"]["compression"]["own length"]
    assert status == 0 and "ROUGE-1 recall, own length" in output
    own = [json.loads(line) for line in rows.read_text().splitlines()]
    texts = [row["text"] for row in own]
    found = AutoModel.from_pretrained(model).eval().summarize(texts, processor=word_processor)
    references = [[each for each in row["several"] if each] for row in own]
    wanted = compute_compression(found, references, texts, multiple_references="mean", limit_bytes=7)
    for key in ("rouge1", "rouge2_recall", "token_f1", "reference_compression_ratio"):
        assert scores[key] == pytest.approx(wanted[key])
    assert scores["controls"]["first_k"] == pytest.approx(wanted["controls"]["first_k"])


def test_signs_are_references_and_texts_without_any_count_in_the_bound(evaluate):
    (status, _, _), results = evaluate("--keep_column", "keep", "--num_importance_samples", "0")
    scores = results["all"]["compression"]["own length"]
    assert status == 0 and scores["reference_compression_ratio"] == pytest.approx(0.45, abs=0.06)


def test_lengths_of_a_corpus_ratio_are_found_on_other_texts(evaluate):
    (status, output, _), results = evaluate(
        "--split", "train", "--report_corpus_ratios", "0.5", "--num_importance_samples", "0"
    )
    scores = results["train"]["compression"]["corpus ratio 0.5"]
    assert status == 0 and "ROUGE-1, corpus ratio 0.5" in output
    assert scores["compression_ratio"] == pytest.approx(0.5, abs=0.15) and "word_bonus" in scores


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--report_corpus_ratios", "0.5"), "--split all measures on it: choose --split test"),
        (("--summary_column", "headline"), "there is no column 'headline'; there are text, summary, several, keep"),
        (("--keep_column", "summary"), "signs say what is kept"),
        (("--report_ratios", "0"), "--report_ratios holds 0.0"),
        (("--report_words", "0"), "--report_words holds 0"),
        (("--inference_gap", "2"), "is a summary: leave it out"),
    ],
)
def test_bad_options_are_one_line(evaluate, options, said):
    assert_one_line_error(*evaluate(*options)[0], "hf-lvm evaluate", said)


def test_another_model_takes_none_of_these(capsys, trained_run):
    status = run(capsys, "evaluate", "--model", trained_run.folder, "--dataset", trained_run.texts, "--report_words", "3")
    assert_one_line_error(*status, "hf-lvm evaluate", "--report_words is for a latent summarizer", "leave it out")


def test_signs_that_a_csv_file_made_numbers_of():
    with pytest.raises(ValueError, match="text 0: 11 is a number where one sign a word is needed"):
        references_of(Dataset.from_dict({"text": ["a b"], "keep": [11]}), "summary", "keep")
