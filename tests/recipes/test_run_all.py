"""All ratios of the benchmarks in one table: what files of results become, and what is measured again."""

import json
import shutil
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
COMMITTED = RECIPES / "benchmarks" / "results"


@pytest.fixture
def benchmarks(monkeypatch):
    """The module, its neighbours importable as when it is run."""
    monkeypatch.syspath_prepend(str(RECIPES / "benchmarks"))
    import run_all

    yield run_all
    for name in ("run_all", "measured_ratios", "paired_timing", "measured_models"):
        sys.modules.pop(name, None)


def run(benchmarks, monkeypatch, folder, *options):
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--results", str(folder), *options])
    return benchmarks.main()


def test_what_is_measured_is_not_measured_again(benchmarks, monkeypatch, tmp_path, capsys):
    for name in ("generation", "padding", "estimators"):
        shutil.copy(COMMITTED / f"{name}.json", tmp_path)
    assert run(benchmarks, monkeypatch, tmp_path, "--only", "padding", "generation", "estimators") == 0
    printed = capsys.readouterr().out
    assert printed.count("is there already") == 3
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    generation = json.loads((COMMITTED / "generation.json").read_text())["comparisons"]
    assert len(rows) == len(generation) + 6 + 3  # two sides of three batchings, three toys
    assert "all tokens" in rows[0] and "<= 0.05: yes" in rows[0]
    first = next(row for row in rows if "gpt2, prefix" in row)
    assert f"{generation[0]['median_ratio']:.3f}" in first and ">= 0.95: yes" in first
    assert (
        "tokens a second" in printed and f"{len(generation) + 2 + 3} of {len(generation) + 2 + 3} targets are met" in printed
    )
    assert (tmp_path / "table.md").read_text() in printed


def test_a_missed_target_and_what_is_left_out_are_told(benchmarks, monkeypatch, tmp_path, capsys):
    record = json.loads((COMMITTED / "generation.json").read_text())
    record["comparisons"][0]["median_ratio"] = 0.5
    (tmp_path / "generation.json").write_text(json.dumps(record))
    assert run(benchmarks, monkeypatch, tmp_path, "--only", "generation", "lstm_training") == 1
    printed = capsys.readouterr().out
    assert ">= 0.95: NO" in printed
    assert "lstm_training: left out, needs --lstm-peer CHECKOUT" in printed


def test_a_benchmark_that_fails_leaves_a_log(benchmarks, tmp_path):
    output = tmp_path / "generation.json"
    wrong = benchmarks.measure("generation", output, [sys.executable, "-c", "raise SystemExit('no such thing')"], again=False)
    assert wrong.startswith("failed with status 1: see ")
    assert (tmp_path / "generation.log").read_text().strip() == "no such thing"


def test_a_checkout_that_is_none_is_refused(benchmarks, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(benchmarks, monkeypatch, tmp_path, "--only", "urnng_training", "--urnng-peer", str(tmp_path / "nowhere"))
    assert "--urnng-peer" in capsys.readouterr().err


def test_commands_carry_the_options_of_the_published_rows(benchmarks, monkeypatch, tmp_path):
    options = type("Options", (), {"pairs": 7, "lstm_peer": Path("lagging"), "urnng_peer": None})
    command = benchmarks.command_of("lstm_training", tmp_path / "x.json", options)
    assert command[1].endswith("lstm_training.py") and command[-2:] == ["--peer", "lagging"] and "7" in command
    assert "--pairs" not in benchmarks.command_of("padding", tmp_path / "x.json", options)
    on_device = benchmarks.command_of("generation", tmp_path / "x.json", options, on_accelerator=True)
    assert on_device[-5:] == ["--device", "cuda", "--bf16", "--shape", "base"]


def test_every_ratio_of_this_folder_is_measured_by_it(benchmarks):
    """What the table of the README shows and what the program measures are the same files."""
    assert {path.stem for path in COMMITTED.glob("*.json")} <= set(benchmarks.BENCHMARKS)
