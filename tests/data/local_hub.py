"""A tiny hub for tests: serves the files of one data set on localhost, the way `datasets` asks for them.

It answers 404 to everything else, so it proves what our side does with a hub that answers, not what the real hub does.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 39 + "1"


def serve_dataset(repository, files):
    """Start serving `files` (name -> bytes) as the data set `repository`; returns the server and its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, content=b"", headers=()):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self):
            path = self.path.partition("?")[0]
            info = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            resolve = f"/datasets/{repository}/resolve/"
            if path in (f"/api/datasets/{repository}", f"/api/datasets/{repository}/revision/{COMMIT}",
                        f"/api/datasets/{repository}/revision/main"):  # fmt: skip
                self.answer(200, json.dumps(info).encode())
            elif path.startswith(f"/api/datasets/{repository}/tree/{COMMIT}"):
                tree = [entry(name) for name in files] if path.endswith(COMMIT) else []
                self.answer(200, json.dumps(tree).encode())
            elif path.startswith(resolve) and path.rpartition("/")[2] in files:
                content = files[path.rpartition("/")[2]]
                headers = [("ETag", f'"{hashlib.sha1(content).hexdigest()}"'), ("X-Repo-Commit", COMMIT)]
                self.answer(200, content, headers)
            else:
                code = "EntryNotFound" if path.startswith(resolve) else "RepoNotFound"
                self.answer(404, headers=[("X-Error-Code", code)])

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path == f"/api/datasets/{repository}/paths-info/{COMMIT}":
                found = [entry(name) for name in files if name in body]
                self.answer(200, json.dumps(found).encode())
            else:
                self.answer(404)

    def entry(name):
        return {"type": "file", "path": name, "size": len(files[name]), "oid": hashlib.sha1(files[name]).hexdigest()}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"
