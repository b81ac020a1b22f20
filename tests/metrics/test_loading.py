"""Metrics by name and by path, as modules of `evaluate`, without network and without stray files."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest

import hf_lvm.metrics
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood

FOLDER = Path(hf_lvm.metrics.__file__).parent
LIKELIHOODS = {
    "negative_log_likelihoods": [20.0, 30.0, 31.0],
    "num_tokens": [6, 9, 8],
    "num_words": [4, 6, 7],
    "num_bytes": [20, 31, 40],
}
INPUTS = {
    "text_likelihood": {**LIKELIHOODS, "count_eos": False},
    "latent_diagnostics": {
        "means": [[2.0, 0.0], [-2.0, 0.0]],
        "standard_deviations": [[0.1, 1.0], [0.2, 1.0]],
        "latents": [[2.1, 0.3], [-1.9, 0.2]],
        "batch_size": 1,
    },
    "reconstruction": {"predictions": ["a cat sat on the mat"], "references": ["the cat sat on the mat"]},
    "diversity": {"predictions": ["a cat sat on the mat", "a dog sat on the mat"], "max_order": 3},
    "importance_weighting": {"log_weights": [[-20.0, -21.0, -22.0], [-30.0, -30.5, -29.0]], "sizes": [1, 3]},
    "clustering": {"predictions": [0, 0, 1, 2], "references": ["DT", "DT", "NN", "NN"]},
    "bracket_f1": {
        "predictions": ["(X (X a dog) barks)", {"words": ["cats", "chase", "mice"], "spans": [[0, 1]]}],
        "references": ["(S (NP (DT a) (NN dog)) (VBZ barks))", "(S (NNS cats) (VP (VBP chase) (NNS mice)))"],
        "protocol": "prpn",
    },
    "compression": {
        "predictions": ["a cat sat", "dogs bark"],
        "references": [["a cat sat down", "the cat sat"], ["dogs bark"]],
        "sources": ["a big cat sat down on the mat", "all the dogs bark at night"],
        "reconstruction_nats": [20.0, 12.5],
        "limit_bytes": 8,
    },
    "semantic_parsing": {
        "predictions": [None, ["( and ( p $0 ) ( q a ) )", "( f"], "( f x )"],
        "references": ["( f x )", "( and ( q a ) ( p $0 ) )", "( f y )"],
        "language_options": {"spaced": False},
    },
    "language_structure": {
        "messages": [[4, 7], [4], [5, 7, 7], []],
        "meanings": [[0, 0], [0, 1], [1, 0], [1, 1]],
        "logits": [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0], [2.0, 1.0]],
        "targets": [0, 1, 1, 1],
        "num_permutations": 2,
    },
    "topics": {"topics": [["file", "path"]], "documents": [["file", "path"], ["file"], ["path", "file"]], "top_words": 2},
}


def load(name: str, tmp_path: Path):
    return hf_lvm.metrics.load(name, cache_dir=str(tmp_path))


def test_the_list_holds_the_metrics_there_are():
    assert set(INPUTS) == set(hf_lvm.metrics.list_metrics())
    assert hf_lvm.metrics.list_metrics() == sorted(hf_lvm.metrics.list_metrics())


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no metric named 'bleurt'; choose one of .*latent_diagnostics, .*text_likelih"):
        hf_lvm.metrics.load("bleurt")


@pytest.mark.parametrize("name", hf_lvm.metrics.list_metrics())
def test_every_metric_describes_itself(name, tmp_path):
    metric = load(name, tmp_path)
    assert metric.name == name
    assert len(metric.description) > 100
    assert "@" in metric.citation
    # Several ways to give the inputs, under the same names.
    features = metric.features if isinstance(metric.features, dict) else metric.features[0]
    assert all(feature in metric.inputs_description for feature in features)
    assert "Returns:" in metric.inputs_description
    assert f'load("{name}")' in metric.inputs_description


def test_batches_add_up_in_full_precision(tmp_path):
    metric = load("text_likelihood", tmp_path)
    nats = np.array([20.123456789012345, 30.0, 31.0])
    for row in range(3):
        columns = {key: column[row : row + 1] for key, column in LIKELIHOODS.items()}
        metric.add_batch(**{**columns, "negative_log_likelihoods": nats[row : row + 1]})
    assert metric.compute() == compute_text_likelihood(**{**LIKELIHOODS, "negative_log_likelihoods": nats})


def test_an_error_leaves_nothing_behind_for_the_next_corpus(tmp_path):
    metric = load("text_likelihood", tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        metric.compute(**{**LIKELIHOODS, "negative_log_likelihoods": [20.0, float("nan"), 3.0]})
    assert metric.compute(**LIKELIHOODS) == compute_text_likelihood(**LIKELIHOODS)


def test_metrics_combine(tmp_path):
    texts = {"predictions": ["a cat sat", "a dog sat"], "references": ["a cat sat", "the dog sat"]}
    together = evaluate.combine([load("reconstruction", tmp_path), load("diversity", tmp_path)]).compute(**texts)
    alone = load("reconstruction", tmp_path).compute(**texts)
    alone |= load("diversity", tmp_path).compute(predictions=texts["predictions"])
    assert together == alone


def test_the_pages_are_what_the_metrics_say_of_themselves():
    pages = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "metric_pages.py"))
    assert pages["stale_pages"]() == []


def test_loading_by_path_works_offline_and_writes_only_into_the_cache(tmp_path):
    script = """
import json, socket, sys
def refuse(*arguments, **options):
    raise AssertionError(f"a metric reached for the network: {arguments}")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import evaluate
folder, inputs = sys.argv[1], json.loads(sys.argv[2])
results = {}
for name, arguments in inputs.items():
    by_file = evaluate.load(f"{folder}/{name}/{name}.py").compute(**arguments)
    by_folder = evaluate.load(f"{folder}/{name}").compute(**arguments)
    assert by_file == by_folder
    results[name] = by_file
print(json.dumps(results))
"""
    cache, work, home = (tmp_path / part for part in ("cache", "work", "home"))
    for part in (cache, work, home):
        part.mkdir()
    package = str(FOLDER.parents[1])
    before = {path for path in FOLDER.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}
    process = subprocess.run(
        [sys.executable, "-c", script, str(FOLDER), json.dumps(INPUTS)],
        cwd=work,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_HOME": str(cache),
            "HOME": str(home),
            "PYTHONPATH": package,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout.splitlines()[-1])
    for name, arguments in INPUTS.items():
        assert load(name, tmp_path).compute(**arguments) == results[name]
    assert not list(work.rglob("*"))
    assert not [path for path in home.rglob("*") if path.is_file()]
    assert {path for path in FOLDER.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"} == before
