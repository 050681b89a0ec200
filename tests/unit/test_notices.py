"""Notices: a command with JSON on stdin, a signed webhook, retries, and failures that are counted."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kedge.guard.notify import SIGNATURE, TIMESTAMP, TRIES, Notifier, signature
from kedge.guard.release import Notify

NOTICE = {"id": "v2:1", "text": "rolled back"}


class Receiver(HTTPServer):
    """A server that keeps what it gets, and answers with the next of its codes, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers.items()), body))
        code = self.server.codes.pop(0) if self.server.codes else 200
        self.send_response(code)
        self.send_header("Location", self.server.url + "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def notifier(**settings: Any) -> Notifier:
    return Notifier(Notify(**settings), pause_seconds=0.001)


def test_a_webhook_gets_a_notice_that_it_can_verify(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    sender = notifier(webhook=receiver.url, secret_env="HOOK_SECRET")
    sender.send(NOTICE)
    sender.close()
    ((headers, body),) = receiver.got
    assert json.loads(body) == NOTICE
    expected = hmac.new(b"s3cret", headers[TIMESTAMP].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}" == signature(b"s3cret", headers[TIMESTAMP], body)
    assert (sender.sent, sender.failed) == (1, 0)


def test_a_webhook_is_tried_again_and_then_counted_as_failed(receiver: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    sender = notifier(webhook=receiver.url, secret_file=str(secret))
    receiver.codes = [503, 500]
    sender.send(NOTICE)
    sender.close()
    assert (len(receiver.got), sender.sent, sender.failed) == (3, 1, 0)
    receiver.codes = [503] * TRIES
    sender.send(NOTICE)
    sender.send(NOTICE)
    sender.close()
    assert (sender.sent, sender.failed) == (2, 1)
    assert "503" in sender.last_failure


def test_a_redirect_is_a_failure_since_the_body_goes_nowhere_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s")
    receiver.codes = [302] * TRIES
    sender = notifier(webhook=receiver.url, secret_env="HOOK_SECRET")
    sender.send(NOTICE)
    sender.close()
    assert (sender.sent, sender.failed) == (0, 1)


def test_without_a_secret_nothing_is_sent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    sender = notifier(webhook=receiver.url, secret_env="HOOK_SECRET")
    sender.send(NOTICE)
    sender.close()
    assert receiver.got == []
    assert sender.failed == 1
    assert "HOOK_SECRET" in sender.last_failure


def test_a_command_gets_json_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = f"import sys, pathlib; pathlib.Path({str(out)!r}).write_text(sys.stdin.read())"
    sender = notifier(command=(sys.executable, "-c", code))
    sender.send(NOTICE)
    sender.close()
    assert json.loads(out.read_text()) == NOTICE
    assert (sender.sent, sender.failed) == (1, 0)


@pytest.mark.parametrize("command", [("no-such-command-here",), (sys.executable, "-c", "raise SystemExit(3)")])
def test_a_command_that_fails_is_counted_and_stops_nothing(command: tuple[str, ...]) -> None:
    sender = notifier(command=command)
    sender.send(NOTICE)
    sender.close()
    assert (sender.sent, sender.failed) == (0, 1)
    assert sender.last_failure


def test_sending_returns_at_once_and_what_is_too_much_is_dropped(receiver: Receiver, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s")
    waits = threading.Event()
    sender = notifier(webhook=receiver.url, secret_env="HOOK_SECRET")
    monkeypatch.setattr(sender, "_post", lambda _body: waits.wait(10))
    for _ in range(1_100):
        sender.send(NOTICE)
    assert sender.failed >= 99
    waits.set()
    sender.close()
    assert sender.sent + sender.failed == 1_100
