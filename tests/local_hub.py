"""A small Hub on localhost: what `huggingface_hub`, `transformers` and `datasets` ask for when they share a repository.

It keeps the bytes it was sent, by their hash; it checks the SHA-256 and the size of every large file; a commit is made whole
or not at all; private repositories are hidden as the Hub hides them; a route it does not know is 404. It proves what our side
does with a hub that answers, not what the real one accepts.
"""

import base64
import binascii
import hashlib
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

REGULAR_LIMIT = 10_000_000
ZERO = "0" * 40


@dataclass(frozen=True)
class User:
    """Whose token it is, and whether it may write."""

    name: str
    can_write: bool = True


@dataclass(frozen=True)
class Commit:
    """What a branch points to: the SHA-256 of every file, which of them are large, and where it came from."""

    oid: str
    parent: str | None
    message: str
    files: dict[str, str]
    large: frozenset[str]


@dataclass
class Repository:
    """One repository; `commits` holds every commit that was ever made, by its oid."""

    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)  # large files that were uploaded: SHA-256 -> size

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision, revision))

    def history(self, branch: str = "main") -> list[Commit]:
        """Commits of a branch, newest first."""
        found, oid = [], self.branches.get(branch)
        while oid is not None:
            found.append(self.commits[oid])
            oid = found[-1].parent
        return found

    def commit(self, branch: str, message: str, files: dict[str, str], large: frozenset[str]) -> Commit:
        parent = self.branches.get(branch)
        content = json.dumps([parent, message, sorted(files.items()), sorted(large)])
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), parent, message, files, large)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit


class Refused(Exception):
    """An answer that is an error: status, the code and the message that the Hub puts into its headers."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class LocalHub:
    """A running server; close it when done.

    Attributes:
        url: what `HF_ENDPOINT` should say.
        users: token -> `User`.
        requests: method and path of every request that came, in order.
        on_request: called with the path of each request before it is answered.
    """

    def __init__(self, users: dict[str, User] | None = None) -> None:
        self.users = users or {}
        self.contents: dict[str, bytes] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str], None] = lambda path: None
        self.connections: set[socket.socket] = set()
        self._lock = threading.RLock()
        self._break: tuple[int, str, bool] | None = None
        self._seen = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):  # which would go on answering
            connection.shutdown(socket.SHUT_RDWR)

    def repository(self, name: str, kind: str = "model") -> Repository:
        return self.repositories[kind, name]

    def add_repository(self, name: str, files: dict[str, bytes], *, kind: str = "model", private: bool = False) -> Repository:
        """A repository that is there already, with one commit."""
        repository = self.repositories[kind, name] = Repository(name, private)
        hashes = {path: self.keep(content) for path, content in files.items()}
        repository.commit("main", "initial commit", hashes, frozenset())
        return repository

    def keep(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return digest

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds: path -> bytes."""
        return {path: self.contents[digest] for path, digest in self.repository(name).at(revision).files.items()}

    def break_connection(self, at: int, when: str = "before", for_good: bool = True) -> None:
        """Cut the connection at the n-th request from now (0 is the next), once or from then on.

        Args:
            when: "before" anything is done with the request, or "after" it was done and before it is answered.
        """
        self._break, self._seen = (at, when, for_good), 0

    def mend_connection(self) -> None:
        self._break = None

    def breaks_now(self) -> str | None:
        with self._lock:
            if self._break is None:
                return None
            at, when, for_good = self._break
            number, self._seen = self._seen, self._seen + 1
            return when if number == at or (for_good and number > at) else None

    # ---- who may do what ----

    def user(self, headers) -> User | None:
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.users:
            raise Refused(401, None, "Invalid credentials in Authorization header")
        return self.users.get(token)

    def visible(self, kind: str, name: str, user: User | None) -> Repository:
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and (user is None or user.name != name.split("/")[0])):
            # To somebody unknown it does not say whether there is one.
            raise Refused(401 if user is None else 404, "RepoNotFound", "Repository not found")
        return repository

    def writable(self, kind: str, name: str, user: User | None) -> Repository:
        repository = self.visible(kind, name, user)
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        if not user.can_write or user.name != name.split("/")[0]:
            raise Refused(403, None, "Forbidden: this token may not write to this repository")
        return repository

    def revision(self, repository: Repository, revision: str) -> Commit:
        commit = repository.at(urllib.parse.unquote(revision))
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # ---- the routes: each takes the request and returns what is answered as JSON ----

    def create(self, request) -> Any:
        user, asked = self.user(request.headers), request.json()
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        owner = asked.get("organization") or user.name
        if not user.can_write or owner != user.name:
            raise Refused(403, None, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        name, kind = f"{owner}/{asked['name']}", asked.get("type") or "model"
        if (kind, name) in self.repositories:
            return 409, {"error": "You already created this repo", "url": f"{self.url}/{name}"}
        self.add_repository(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, kind=kind,
                            private=asked.get("visibility") == "private")  # fmt: skip
        return {"url": f"{self.url}/{name}", "name": name}

    def validate(self, request) -> Any:
        head = re.match(r"---\n(.*?)\n---(\n|$)", request.json()["content"], re.DOTALL)
        if head is None:
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        try:
            is_mapping = isinstance(yaml.safe_load(head[1]), dict)
        except yaml.YAMLError as error:
            return 400, {"errors": [{"message": f"bad YAML: {error}"}], "warnings": []}
        return {"warnings": []} if is_mapping else (400, {"errors": [{"message": "no mapping"}], "warnings": []})

    def info(self, request, kind: str, name: str, revision: str = "main") -> Any:
        repository = self.visible(kind, name, self.user(request.headers))
        commit = self.revision(repository, revision)
        siblings = [{"rfilename": path} for path in commit.files]
        return {"id": name, "sha": commit.oid, "private": repository.private, "siblings": siblings, "tags": []}

    def tree(self, request, kind: str, name: str, revision: str, folder: str = "") -> Any:
        commit = self.revision(self.visible(kind, name, self.user(request.headers)), revision)
        inside = f"{urllib.parse.unquote(folder)}/" if folder else ""
        paths = [path for path in commit.files if path.startswith(inside)]
        if inside and not paths:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        if "recursive=true" not in request.query.lower():
            folders = {inside + path.removeprefix(inside).split("/")[0] for path in paths if "/" in path.removeprefix(inside)}
            paths = [path for path in paths if "/" not in path.removeprefix(inside)]
            return [{"type": "directory", "path": path, "oid": ZERO, "size": 0} for path in sorted(folders)] + [
                self._entry(commit, path) for path in paths
            ]
        return [self._entry(commit, path) for path in paths]

    def paths_info(self, request, kind: str, name: str, revision: str) -> Any:
        commit = self.revision(self.visible(kind, name, self.user(request.headers)), revision)
        asked = urllib.parse.parse_qs(request.body.decode()).get("paths", [])
        return [self._entry(commit, path) for path in asked if path in commit.files]

    def _entry(self, commit: Commit, path: str) -> dict[str, Any]:
        digest, content = commit.files[path], self.contents[commit.files[path]]
        entry = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
        if path in commit.large:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
            lfs = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
            entry |= {"oid": _git_oid(pointer), "lfs": lfs}
        return entry

    def preupload(self, request, kind: str, name: str, revision: str) -> Any:
        commit = self.revision(self.writable(kind, name, self.user(request.headers)), revision)
        answer = []
        for file in request.json()["files"]:
            is_large = file["size"] > REGULAR_LIMIT or b"\0" in base64.b64decode(file["sample"])
            digest, known = commit.files.get(file["path"]), None
            if digest is not None and (file["path"] in commit.large) == is_large:
                known = digest if is_large else _git_oid(self.contents[digest])
            mode = "lfs" if is_large else "regular"
            answer.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
        return {"files": answer}

    def batch(self, request, kind: str, name: str) -> Any:
        repository, answer = self.writable(kind, name, self.user(request.headers)), []
        for wanted in request.json()["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if repository.objects.get(wanted["oid"]) != wanted["size"]:
                href = f"{self.url}/large/{kind}/{name}/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            answer.append(entry)
        return {"transfer": "basic", "objects": answer}

    def store(self, request, kind: str, name: str, digest: str) -> Any:
        if hashlib.sha256(request.body).hexdigest() != digest:
            raise Refused(400, None, "The content does not have the SHA-256 that was announced")
        self.repositories[kind, name].objects[self.keep(request.body)] = len(request.body)
        return {}

    def verify(self, request, kind: str, name: str, digest: str) -> Any:
        repository, said = self.writable(kind, name, self.user(request.headers)), request.json()
        if said["oid"] != digest or repository.objects.get(digest) != said["size"]:
            raise Refused(404, None, "There is no such object of this size")
        return {}

    def branch(self, request, kind: str, name: str, branch: str) -> Any:
        repository = self.writable(kind, name, self.user(request.headers))
        branch = urllib.parse.unquote(branch)
        if branch in repository.branches:
            return 409, {"error": f"Reference {branch} exists"}
        repository.branches[branch] = self.revision(repository, request.json().get("startingPoint", "main")).oid
        return {}

    def commit(self, request, kind: str, name: str, revision: str) -> Any:
        repository, branch = self.writable(kind, name, self.user(request.headers)), urllib.parse.unquote(revision)
        head = self.revision(repository, revision)
        if branch not in repository.branches:
            raise Refused(404, "RevisionNotFound", f"{branch} is no branch")
        header, files, large = {}, dict(head.files), set(head.large)
        for line in request.body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                header = value
            elif operation["key"] == "file":
                files[value["path"]] = self.keep(base64.b64decode(value["content"], validate=True))
                large.discard(value["path"])
            elif operation["key"] == "lfsFile":
                if repository.objects.get(value["oid"]) != value["size"]:
                    raise Refused(400, None, f"{value['path']} was not uploaded")
                files[value["path"]] = value["oid"]
                large.add(value["path"])
            elif operation["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
                large.discard(value["path"])
            else:
                raise Refused(400, None, f"{operation['key']} is not known")
        if header.get("parentCommit", head.oid) != head.oid:
            raise Refused(412, None, "A commit has happened since. Please refresh and try again.")
        made = repository.commit(branch, header["summary"], files, frozenset(large))
        return {"commitOid": made.oid, "commitUrl": f"{self.url}/{name}/commit/{made.oid}", "success": True}

    def resolve(self, request, kind: str, name: str, revision: str, path: str) -> Any:
        commit = self.revision(self.visible(kind, name, self.user(request.headers)), revision)
        path = urllib.parse.unquote(path)
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        content = self.contents[commit.files[path]]
        etag = commit.files[path] if path in commit.large else _git_oid(content)
        return content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "none"}


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_REPOSITORY = r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)"
_FILES = r"/(?P<datasets>datasets/)?(?P<name>[^/]+/[^/]+)"
_LARGE = r"/large/(?P<kind>model|dataset)/(?P<name>[^/]+/[^/]+)/(?P<digest>[0-9a-f]{64})"
_ROUTES = [
    ("POST", re.compile(r"/api/repos/create"), LocalHub.create),
    ("POST", re.compile(r"/api/validate-yaml"), LocalHub.validate),
    ("GET", re.compile(_REPOSITORY), LocalHub.info),
    ("GET", re.compile(rf"{_REPOSITORY}/revision/(?P<revision>[^/]+)"), LocalHub.info),
    ("GET", re.compile(rf"{_REPOSITORY}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?"), LocalHub.tree),
    ("POST", re.compile(rf"{_REPOSITORY}/paths-info/(?P<revision>[^/]+)"), LocalHub.paths_info),
    ("POST", re.compile(rf"{_REPOSITORY}/preupload/(?P<revision>[^/]+)"), LocalHub.preupload),
    ("POST", re.compile(rf"{_REPOSITORY}/branch/(?P<branch>[^/]+)"), LocalHub.branch),
    ("POST", re.compile(rf"{_REPOSITORY}/commit/(?P<revision>[^/]+)"), LocalHub.commit),
    ("POST", re.compile(rf"{_FILES}\.git/info/lfs/objects/batch"), LocalHub.batch),
    ("PUT", re.compile(_LARGE), LocalHub.store),
    ("POST", re.compile(rf"{_LARGE}/verify"), LocalHub.verify),
    ("GET", re.compile(rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"), LocalHub.resolve),
    ("HEAD", re.compile(rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"), LocalHub.resolve),
]


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_) -> None:
        pass

    def json(self) -> Any:
        return json.loads(self.body)

    def _handle(self) -> None:
        path, _, self.query = self.path.partition("?")
        self.hub.requests.append((self.command, path))
        self.hub.on_request(path)
        how = self.hub.breaks_now()
        if how == "before":
            return self._cut()
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        if len(self.body) < length:  # the client went away in the middle
            return self._cut()
        if self.headers.get("Transfer-Encoding"):
            self.body = self._chunks()
        status, content, headers = self._answer(path)
        if how == "after":
            return self._cut()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        for method, pattern, route in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None or method != self.command:
                continue
            values = {key: value for key, value in match.groupdict().items() if value is not None}
            if "name" in values:
                values["kind"] = "dataset" if values.pop("datasets", None) else values.get("kind", "model")
            try:
                with self.hub._lock:
                    found = route(self.hub, self, **values)
            except Refused as error:
                message = {"error": str(error)}
                headers = {"X-Error-Message": str(error)} | ({"X-Error-Code": error.code} if error.code else {})
                return error.status, json.dumps(message).encode(), headers
            except (KeyError, ValueError, binascii.Error) as error:
                return 400, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode(), {}
            if isinstance(found, tuple) and isinstance(found[0], bytes):
                return 200, *found
            status, found = found if isinstance(found, tuple) else (200, found)
            return status, json.dumps(found).encode(), {"Content-Type": "application/json"}
        return 404, b"", {}

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = _handle
