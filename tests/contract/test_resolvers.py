"""Resolvers: a plan says whether the artifacts that come back can still be had."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import pytest

import kedge
from kedge import Artifact
from kedge.cli.main import main
from kedge.errors import InvalidValue
from kedge.recovery import resolve as resolving

POSTGRES_ONE_IN = 4


class Server(BaseHTTPRequestHandler):
    """Has /there and one image, answers 500 to /broken, and never answers /slow."""

    asked: ClassVar[list[str]] = []
    release = threading.Event()

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        if self.path == "/slow":
            self.release.wait(30)
        found = {"/there": 200, "/broken": 500, "/v2/team/support/manifests/sha256:7": 200}
        self.send_response(found.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.release.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.release.set()
    server.shutdown()
    server.server_close()


def test_a_plan_says_which_targets_are_gone(
    place: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving.resolve, "__defaults__", (1.0,))
    (tmp_path / "kedge.toml").write_text(f"""
[resolvers.weights]
uris = "models:/*"
command = 'case "$KEDGE_URI" in */1) exit 0;; */2) exit 1;; */4) exec sleep 9;; *) exit 7;; esac'
[resolvers.pages]
uris = "http://*"
[resolvers.images]
uris = "docker://*"
registry = "{url}"
""")
    uris = {
        "a/model": "models:/a/1", "b/model": "models:/b/2", "c/model": "models:/c/3", "d/index": f"{url}/there",
        "k/model": "models:/k/4", "e/index": f"{url}/nowhere", "f/index": f"{url}/broken", "g/index": f"{url}/slow",
        "h/weights": "s3://b/w",
        "i/code": "docker://registry.example/team/support:v1", "j/code": "docker://registry.example/team/other:v1",
    }  # fmt: skip
    with kedge.open(place, durability="normal", reconcilers=tmp_path / "kedge.toml") as k:
        k.deploy("v1", {key: Artifact(uri=uri, digest="sha256:7") for key, uri in uris.items()} | {"z/prompt": "hi"})
        k.promote("v1")
        k.deploy("v2", {key: Artifact(uri="new:/1", digest="sha256:8") for key in uris} | {"z/prompt": "ho"})
        plan = k.plan("v2")
        assert plan.targets == {
            "a/model": "there", "b/model": "gone", "c/model": "not looked at: its command exited with 7",
            "d/index": "there", "e/index": "gone", "f/index": "not looked at: the server answered 500",
            "g/index": "not looked at: no answer within 1 s",
            "h/weights": "not looked at: no resolver is configured for its URI",
            "i/code": "there", "j/code": "gone", "k/model": "not looked at: no answer within 1 s",
        }  # fmt: skip
        asked = len(Server.asked)
        assert k.rollback("v2").ok
        assert len(Server.asked) == asked, "a rollback asks nobody"


@pytest.mark.parametrize("error", [TimeoutError(), URLError(TimeoutError())])
def test_a_resolver_that_gives_up_in_time_has_not_answered(tmp_path: Path, error: OSError) -> None:
    class Impatient:
        uris = "models:/*"

        def resolve(self, key: str, pin: Artifact, timeout: float) -> bool:  # noqa: ARG002 - the port's signature
            raise error

    with kedge.open(tmp_path, resolvers={"weights": Impatient()}) as k:
        k.deploy("v1", {"a/model": Artifact(uri="models:/a/1", digest="1")})
        k.promote("v1")
        k.deploy("v2", {"a/model": Artifact(uri="models:/a/2", digest="2")})
        assert k.plan("v2").targets == {"a/model": "not looked at: no answer within 5 s"}


def test_kedge_plan_says_what_is_gone_and_what_nobody_looked_at(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "kedge.toml").write_text('[resolvers.weights]\nuris = "models:/*"\ncommand = "exit 1"\n')
    with kedge.open(place, durability="normal") as k:
        pins = {"a/model": Artifact(uri="models:/a/1", digest="1"), "b/model": Artifact(uri="s3://b/w", digest="1")}
        k.deploy("v1", pins)
        k.promote("v1")
        k.deploy("v2", {key: Artifact(uri="new:/1", digest="2") for key in pins})
    assert main(["plan", "v2", "--db", place]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "What a/model falls back to is GONE: the rollback cannot bring it back (v1's model: models:/a/1" in said
    assert "What b/model falls back to was not looked at: no resolver is configured for its URI" in said


@pytest.mark.parametrize(
    "text",
    ['[resolvers.x]\nurl = "http://a"', '[resolvers.x]\nuris = "*"\nurl = "ftp://a"', "resolvers = 3", "[other.x]"],
)
def test_a_resolver_that_cannot_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "kedge.toml").write_text(text)
    with pytest.raises(InvalidValue):
        kedge.open(f"sqlite:///{tmp_path / 'k.db'}", reconcilers=tmp_path / "kedge.toml").close()
