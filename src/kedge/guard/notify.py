"""Notices of a launch: a command with JSON on stdin, or a signed webhook; they never block the pilot."""

import hashlib
import hmac
import os
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kedge.guard.release import Notify

TRIES = 4
TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 0.5  # before the second try; doubled before each further one
QUEUED_MAX = 1_000
SIGNATURE = "X-Kedge-Signature"
TIMESTAMP = "X-Kedge-Timestamp"
_ENOUGH_SECONDS = 30.0


class Notifier:
    """Sends notices in a thread of its own. Failures are counted, and the last one is kept."""

    def __init__(self, settings: Notify, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._settings = settings
        self._pause_seconds = pause_seconds
        self._waiting: queue.Queue[bytes | None] = queue.Queue(QUEUED_MAX)
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.failed = 0
        self.last_failure = ""

    def send(self, notice: Mapping[str, Any]) -> None:
        """Send a notice soon; return at once."""
        if not (self._settings.command or self._settings.webhook):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kedge-notices", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(msgspec.json.encode(dict(notice)))
        except queue.Full:
            self._note("too many notices are waiting")

    def close(self, seconds: float = _ENOUGH_SECONDS) -> None:
        """Wait until the notices so far are sent, so many seconds at most."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=seconds)
            except queue.Full:
                return
            self._thread.join(seconds)
            self._thread = None

    def _run(self) -> None:
        while (body := self._waiting.get()) is not None:
            for send in (self._run_command, self._post):
                self._try(send, body)

    def _try(self, send: Any, body: bytes) -> None:
        trouble = ""
        for number in range(TRIES):
            try:
                if send(body):
                    self.sent += 1
            except (OSError, subprocess.SubprocessError, ValueError) as error:  # URLError is an OSError
                trouble = f"{type(error).__name__}: {error}"
                if number + 1 < TRIES:
                    time.sleep(self._pause_seconds * 2**number)
            else:
                return
        self._note(trouble)

    def _note(self, trouble: str) -> None:
        self.failed += 1
        self.last_failure = trouble

    def _run_command(self, body: bytes) -> bool:
        if not self._settings.command:
            return False
        subprocess.run(  # noqa: S603 - the words of the release file, without a shell
            self._settings.command, input=body, check=True, capture_output=True, timeout=TIMEOUT_SECONDS
        )
        return True

    def _post(self, body: bytes) -> bool:
        if not self._settings.webhook:
            return False
        moment = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: moment,
            SIGNATURE: signature(self._secret(), moment, body),
        }
        request = urllib.request.Request(self._settings.webhook, body, headers, method="POST")  # noqa: S310 - checked
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS):
            return True

    def _secret(self) -> bytes:
        if self._settings.secret_file:
            secret = Path(self._settings.secret_file).read_bytes().strip()
        else:
            secret = os.environ.get(self._settings.secret_env, "").encode()
        if not secret:
            where = self._settings.secret_file or f"the environment variable {self._settings.secret_env}"
            raise ValueError(f"{where} holds no secret to sign with; set it")
        return secret


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is a failure: the signed body goes to the address that was configured, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a notice: HMAC-SHA256 of the timestamp, a dot and the body, as `sha256=<hex>`."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
