"""The hub of the tests is honest: it refuses what is not what it says, and answers nothing it does not know."""

import hashlib
import json
import urllib.error
import urllib.request

import pytest

CONTENT = b"\0weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def ask(hub):
    """Send one request; status, headers and JSON of the answer."""
    hub.add_repository("tester/model", {"config.json": b"{}"})
    hub.add_repository("tester/secret", {"config.json": b"{}"}, private=True)

    def ask(method, path, body=None, token="hf_owner"):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(hub.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read() or b"null")

    return ask


def commit(*operations, parent=None):
    header = {"summary": "message", "description": ""} | ({"parentCommit": parent} if parent else {})
    return "\n".join(json.dumps({"key": key, "value": value}) for key, value in (("header", header), *operations)).encode()


LARGE = ("lfsFile", {"path": "model.safetensors", "algo": "sha256", "oid": DIGEST, "size": len(CONTENT)})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/api/whoami-v2"), ("GET", "/api/spaces/a/b"), ("PUT", "/api/models/tester/model/commit/main"),
     ("POST", "/api/models/tester/model/xet-write-token/main")],
)  # fmt: skip
def test_unknown_routes_are_not_found(ask, method, path):
    assert ask(method, path, b"" if method != "GET" else None)[0] == 404


def test_large_files_are_checked_by_hash_and_size_and_commits_made_whole_or_not_at_all(ask, hub):
    place, repository = "/api/models/tester/model/commit/main", hub.repository("tester/model")
    (first,) = repository.history()
    regular = ("file", {"path": "a.txt", "content": "YQ==", "encoding": "base64"})
    assert ask("POST", place, commit(regular, LARGE))[0] == 400, "the large file was never sent"
    assert ask("PUT", f"/large/model/tester/model/{DIGEST}", b"\0weightz")[0] == 400
    assert ask("PUT", f"/large/model/tester/model/{DIGEST}", CONTENT)[0] == 200
    assert ask("POST", f"/large/model/tester/model/{DIGEST}/verify", {"oid": DIGEST, "size": 3})[0] == 404
    of_another_size = ("lfsFile", {**LARGE[1], "size": 3})
    for operations in (of_another_size,), (regular, ("deletedFile", {"path": "none"})), (regular, ("copyFile", {})):
        assert ask("POST", place, commit(*operations))[0] in (400, 404)
    assert ask("POST", place, commit(regular, parent="0" * 40))[0] == 412
    assert repository.history() == [first] and hub.files("tester/model") == {"config.json": b"{}"}
    assert ask("POST", place, commit(regular, LARGE, parent=first.oid))[0] == 200
    assert hub.files("tester/model") == {"config.json": b"{}", "a.txt": b"a", "model.safetensors": CONTENT}
    assert hub.files("tester/model", first.oid) == {"config.json": b"{}"}


def test_a_private_repository_is_hidden_and_nobody_else_writes(ask):
    for token, status in ((None, 401), ("hf_stranger", 404)):
        found, headers, _ = ask("GET", "/api/models/tester/secret", token=token)
        assert (found, headers["X-Error-Code"]) == (status, "RepoNotFound")
    assert ask("GET", "/api/models/tester/secret")[2]["private"] is True
    assert ask("GET", "/api/models/tester/secret", token="hf_nobody")[0] == 401
    for token, status in ((None, 401), ("hf_reader", 403), ("hf_stranger", 403)):
        assert ask("POST", "/api/models/tester/model/commit/main", commit(), token)[0] == status
        assert ask("POST", "/api/repos/create", {"name": "x", "organization": "tester"}, token)[0] == status


def test_what_is_not_there_says_what_is_missing(ask):
    for path, code in (
        ("/api/models/tester/none", "RepoNotFound"),
        ("/api/models/tester/model/revision/none", "RevisionNotFound"),
        ("/tester/model/resolve/main/none", "EntryNotFound"),
    ):
        status, headers, _ = ask("GET", path)
        assert (status, headers["X-Error-Code"]) == (404, code)


def test_a_connection_breaks_when_it_is_told_to(ask, hub):
    hub.break_connection(1, for_good=False)
    assert ask("GET", "/api/models/tester/model")[0] == 200
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask("GET", "/api/models/tester/model")
    assert ask("GET", "/api/models/tester/model")[0] == 200
