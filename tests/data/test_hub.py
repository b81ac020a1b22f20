import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from hf_lvm.data import is_hub_id, load_texts

# One process for all of it: importing costs far more than the requests.
SCRIPT = """
import json, os, sys, time

sys.path.insert(0, sys.argv[1])
from local_hub import LocalHub

rows = [{"review": f"good {n}", "stars": n} for n in range(40)]
hub = LocalHub()
hub.add_repository("someone/reviews", {
    "train.jsonl": "\\n".join(map(json.dumps, rows)).encode(),
    "test.jsonl": b'{"review": "bad", "stars": 1}',
}, kind="dataset")
os.environ.update(HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="0")

from hf_lvm.data import load_texts, load_tokenizer

def failure(load, name):
    start = time.monotonic()
    try:
        load(name)
    except Exception as error:
        return {"class": type(error).__name__, "message": str(error), "seconds": time.monotonic() - start}

dataset = load_texts("someone/reviews", text_column="review", validation_fraction=0.2)
report = {
    "rows": {split: rows[:] for split, rows in dataset.items()},
    "missing": [failure(load_texts, "someone/nothing"), failure(load_tokenizer, "someone/nothing")],
}
hub.close()
report["unreachable"] = [failure(load_texts, "someone/reviews"), failure(load_tokenizer, "someone/nothing")]
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(run_python, tmp_path_factory):
    output = run_python(SCRIPT, Path(__file__).parents[1], HF_HOME=str(tmp_path_factory.mktemp("cache")))
    return json.loads(output.splitlines()[-1])


def test_dataset_of_the_hub_is_loaded_with_its_splits(report):
    rows = report["rows"]
    assert list(rows) == ["train", "validation", "test"]
    assert rows["test"] == {"text": ["bad"], "stars": [1]}
    assert sorted(rows["train"]["text"] + rows["validation"]["text"]) == sorted(f"good {n}" for n in range(40))
    assert rows["train"]["text"] == [f"good {stars}" for stars in rows["train"]["stars"]]


def test_missing_repository_is_said_in_one_line(report):
    for kind, failure in zip(("dataset", "model"), report["missing"], strict=True):
        assert failure["class"] == "FileNotFoundError"
        assert f"no {kind} 'someone/nothing'" in failure["message"]
        assert "\n" not in failure["message"]


def test_unreachable_hub_is_said_at_once_in_one_line(report):
    for failure in report["unreachable"]:
        assert failure["class"] == "ConnectionError"
        assert failure["message"].startswith("Could not reach http://127.0.0.1:")
        assert "HF_HUB_OFFLINE=1" in failure["message"]
        assert "\n" not in failure["message"]
        assert failure["seconds"] < 5


def test_offline_mode_asks_no_hub():
    if not constants.HF_HUB_OFFLINE:
        pytest.skip("this process was started online")
    with pytest.raises(ConnectionError, match="'someone/never_loaded'.*offline mode"):
        load_texts("someone/never_loaded")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("owner/name", True), ("bert", False), ("./a/b", False), ("../b", False), ("a/b/c", False), ("/a", False)],
)
def test_hub_ids_have_one_slash(name, expected):
    assert is_hub_id(name) is expected


def test_existing_path_is_local(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_hub_id("owner/name")
