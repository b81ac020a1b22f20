import json
import runpy
import sys
from pathlib import Path

import hf_lvm.metrics
from hf_lvm.data import load_trees

SCRIPT = Path(__file__).parents[2] / "recipes" / "urnng" / "wsj_trees.py"
TREES = {
    "wsj_0001": "(S (NP (DT The) (NN dog)) (VP (VBZ barks)) (. .))",
    "wsj_0159": "(S (NP (DT The) (NN dog)) (VP (VBZ eats) (NP (CD 3) (NNS bones))) (. .))",
    "wsj_0160": "(S (NP (PRP It)) (VP (VBZ sleeps)) (. .))",
    "wsj_0179": "(NP (NNP Rex))",
    "wsj_0180": "(S (NP (PRP It)) (VP (VBZ sleeps) (ADVP (RB well))) (. .))",
}


def test_trees_by_file_and_length(tmp_path, monkeypatch, capsys):
    lines = [json.dumps({"file": file, "tree": tree.replace(" (VP", "\n  (VP")}) for file, tree in TREES.items()]
    (tmp_path / "trees.jsonl").write_text("\n".join(lines))
    arguments = [tmp_path / "trees.jsonl", tmp_path / "out", "--min_words", 2, "--max_words", 5]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert (
        "train: 1 sentences\nvalidation: 1 sentences\ntest: 1 sentences\n0 words stand in training more than once" in printed
    )

    loaded = load_trees(data_dir=tmp_path / "out")
    assert loaded["train"][0] == {"text": "The dog barks .", "tags": "DT NN VBZ .", "tree": TREES["wsj_0001"]}
    assert loaded["validation"]["text"][:] == ["It sleeps ."]
    assert loaded["test"]["tree"][:] == [TREES["wsj_0180"]]
    # Nothing else is needed to remove punctuation by tag.
    bracket_f1 = hf_lvm.metrics.load("bracket_f1")
    scores = bracket_f1.compute(predictions=["(X (X The dog) barks)"], references=loaded["train"]["tree"][:], protocol="prpn")
    assert scores["sentence_f1"] == 100 and scores["removed_words"] == 1
