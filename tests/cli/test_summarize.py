"""`hf-lvm summarize` of a model that was saved."""

import json

import pytest

from tests.cli.test_commands import assert_one_line_error, run
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer

TEXTS = ["a b c d e f", "g h"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, word_processor):
    folder = tmp_path_factory.mktemp("summarizer")
    tiny_summarizer(perturbation=0.4).save_pretrained(folder)
    word_processor.save_pretrained(folder)
    return folder


def test_one_summary_a_line(capsys, model, tmp_path):
    status, output, errors = run(capsys, "summarize", *TEXTS, "--model", model, "--ratio", "0.5")
    assert status == 0 and not errors
    assert [len(line.split()) for line in output.splitlines()] == [3, 1]
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    more = ("--file", tmp_path / "texts.txt", "--output", tmp_path / "out.txt", "--ratio", "0.5")
    assert run(capsys, "summarize", "--model", model, *more)[0] == 0
    assert (tmp_path / "out.txt").read_text() == output


def test_scores_and_credit(capsys, model):
    more = ("--num_summaries", "2", "--explain", "--words", "2")
    output = run(capsys, "summarize", TEXTS[0], "--model", model, *more)[1].splitlines()
    assert len(output) == 4 and output[0].startswith("1  log q(c|x) = ") and output[2].endswith(" nats")
    (line,) = run(capsys, "summarize", TEXTS[0], "--model", model, *more, "--format", "json")[1].splitlines()
    record = json.loads(line)
    assert len(record["summaries"]) == 2 and [word for word, _ in record["credit"]] == record["summaries"][0]["text"].split()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ratio", "0"), "ratio is 0.0"),
        (("--words", "2", "--ratio", "0.5"), "give one of the two"),
        (("--num_beams", "0"), "--num_beams 0: give 1 or more"),
        (("--output", "nowhere/out.txt"), "there is no folder 'nowhere'"),
    ],
)
def test_bad_options_are_one_line(capsys, model, options, said):
    assert_one_line_error(*run(capsys, "summarize", *TEXTS, "--model", model, *options), "hf-lvm summarize", said)


def test_another_model_cannot(capsys, trained_urnng):
    status = run(capsys, "summarize", *TEXTS, "--model", trained_urnng.folder)
    assert_one_line_error(*status, "hf-lvm summarize", "which cannot summarize", "such as a latent summarizer")
