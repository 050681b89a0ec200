"""External systems for tests of reconcilers: a loopback server that holds versions, and commands on files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import kedge

Answer = Callable[[str], int | None]


class ModelServer(ThreadingHTTPServer):
    """Holds a version by key. `before` may answer a request with a status, or hang."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.versions: dict[str, str] = {}
        self.asked: list[str] = []
        self.sent: list[dict[str, object]] = []
        self.before: Answer = lambda _method: None
        self.takes = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/alias/{{key}}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def _serve(self, body: bytes) -> None:
        self.server.asked.append(self.command)
        refused = self.server.before(self.command)
        key = unquote(self.path.removeprefix("/alias/"))
        if refused is None and self.command == "PUT":
            pin = json.loads(body)
            self.server.sent.append(pin)
            if self.server.takes:
                self.server.versions[key] = pin["uri"]
        status = refused or (200 if key in self.server.versions or self.command == "PUT" else 404)
        answer = json.dumps({"model": {"version": self.server.versions.get(key)}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with suppress(BrokenPipeError):  # the client has given up
            self.wfile.write(answer)

    def do_GET(self) -> None:
        self._serve(b"")

    def do_PUT(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_arguments: object) -> None:
        """Be quiet."""


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def on_file(file: Path, *, deadline_seconds: float = 5.0, artifacts: str = "*/model") -> kedge.ShellReconciler:
    """Return a reconciler that writes the pin to a file."""
    return kedge.ShellReconciler(
        artifacts,
        observe=f"cat '{file}' 2>/dev/null || true",
        converge=f"printf %s \"$KEDGE_URI\" > '{file}'",
        deadline_seconds=deadline_seconds,
    )


def model(version: int) -> kedge.Artifact:
    return kedge.Artifact(uri=f"models:/support/{version}", digest=f"sha256:{version:04x}", version=str(version))
