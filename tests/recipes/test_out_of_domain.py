import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer

SCRIPT = Path(__file__).parents[2] / "recipes" / "latent_summarizer" / "out_of_domain.py"
ROWS = [{"text": "a b c d e f g", "summaries": ["a b", "c d e"]}, {"text": "c d e", "summaries": ["c", "d e"]}]


@pytest.fixture
def evaluate(tmp_path, monkeypatch, word_processor):
    """Exit status of the script on two sets, with a model of nothing learnt."""
    tiny_summarizer(perturbation=0.4).save_pretrained(tmp_path / "run")
    word_processor.save_pretrained(tmp_path / "run")
    for name, mark in (("broadcast", ""), ("duc2004", ".")):
        lines = [json.dumps(row | {"text": row["text"].replace("c", "c,", bool(mark)) + mark}) for row in ROWS]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def run(*options: str) -> int:
        given = ["--model", tmp_path / "run", "--data_dir", tmp_path, "--output", tmp_path / "others.json", *options]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, given)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return stopped.value.code

    return run


def test_each_set_by_its_definition_in_one_file(evaluate, tmp_path, capsys):
    assert evaluate("--sets", "broadcast", "duc2004", "--report_ratios", "0.5") == 0
    results = json.loads((tmp_path / "others.json").read_text())
    assert {"command", "settings", "hardware", "versions", "evaluation_seconds"} <= results.keys()
    broadcast, duc = (results["sets"][name]["compression"]["ratio 0.5"] for name in ("broadcast", "duc2004"))
    assert broadcast["multiple_references"] == duc["multiple_references"] == "mean"
    assert duc["limit_bytes"] == 75 and broadcast["limit_bytes"] is None
    # Of news that is not tokenized, marks are words of their own: 9 and 5.
    assert duc["source_words"] == 14 and broadcast["source_words"] == 10
    # 4 of 7 words and 2 of 3; references have 2.5 and 1.5 in the mean.
    assert broadcast["compression_ratio"] == pytest.approx(6 / 10)
    assert broadcast["reference_compression_ratio"] == pytest.approx(4 / 10)
    assert f"{broadcast['gain_over_first_k']['rouge1']:+.2f} over the first words" in capsys.readouterr().out


def test_a_set_that_is_not_there_is_one_line(evaluate, capsys):
    assert evaluate() == 2
    said = capsys.readouterr().err
    assert "bnc.jsonl" in said and "gigaword.jsonl" in said and "--sets" in said
