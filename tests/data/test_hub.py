import json

import pytest

from hf_lvm.data import is_hub_id

UNREACHABLE = """
import json, time
from hf_lvm.data import load_texts, load_tokenizer

report = []
for load in (load_texts, load_tokenizer):
    start = time.monotonic()
    try:
        load("someone/something")
    except ConnectionError as error:
        report.append([time.monotonic() - start, str(error)])
print(json.dumps(report))
"""


def test_unreachable_hub_is_said_at_once_in_one_line(run_python, tmp_path):

    # Nothing listens on the discard port of this machine.
    report = json.loads(run_python(UNREACHABLE, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path)))
    assert len(report) == 2
    for seconds, message in report:
        assert seconds < 5
        assert message.startswith("Could not reach http://127.0.0.1:9")
        assert "someone/something" in message
        assert "\n" not in message


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
