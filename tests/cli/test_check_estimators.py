import json

import pytest

from hf_lvm.cli.main import main


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problems", "quaternary"], "Unknown problem 'quaternary': choose among 'categorical', 'autoregressive', 'binary'"),
        (["--estimators", "reinforec"], "Unknown estimator 'reinforec'"),
        (["--problems", "categorical", "--estimators", "disarm"], "'disarm' does not go with the problem 'categorical'"),
        (["--draws", "5"], "draws must be at least 100"),
        (["--num_samples", "2"], "num_samples must be at least 3"),
        (["--problems", "binary", "--estimators", "disarm", "--num_samples", "5"], "set num_samples to an even number, not 5"),
    ],
)
def test_refusals_are_one_line(arguments, said, tmp_path, capsys):
    assert main(["check-estimators", *arguments, "--output_dir", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("hf-lvm check-estimators: error:") == 1
    assert not list(tmp_path.iterdir())
