"""Helpers that run the command line, and a small database with a history."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kedge
from kedge.cli.main import main


class Result(msgspec.Struct, frozen=True):
    """Output and exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The single JSON document on stdout; fails if there is more or none."""
        return json.loads(self.out)


Run = Callable[..., Result]


def runner(capsys: pytest.CaptureFixture[str], db: Path | None) -> Run:
    """Return a function that runs one command in this process, by default on the database `db`."""

    def run(*argv: str) -> Result:
        given = [] if db is None or "--db" in argv else ["--db", str(db)]
        capsys.readouterr()
        code = main([*argv, *given])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def spawn(*argv: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
    """Start the command in its own process and process group."""
    environment = {k: v for k, v in os.environ.items() if k not in {"KEDGE_DB", "COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    environment |= options.pop("env", {})
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background job: it would be inherited
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "kedge.cli.main", *argv],
        cwd=cwd,
        env=environment,
        text=True,
        start_new_session=True,
        **streams,
    )


def make_world(place: Path | str) -> None:
    """Make a database with a settled base, a live v1, a canary v2 that many turns read, and a v3 staged on it."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=4)
        k.deploy("base", {"support/prompt": "Answer kindly.", "shared/embedder": {"name": "e1", "dim": 4}}, by="maria")
        k.promote("base", by="maria")
        k.settle("base", by="maria")
        k.deploy("support-v1", {"support/prompt": "Answer kindly and briefly."}, by="maria")
        k.promote("support-v1", by="maria")
        for number in range(4):
            with k.turn(session=f"s-{number}", agent="support") as turn:
                turn.memory.append("user", f"Where is order {number}?")
                turn.memory.append("assistant", "On its way.")
                turn.context.put(f"case/{number}", {"state": "open"}, fresh_for=1e-6 if number == 1 else None)
                turn.documents("kb").put(f"doc-{number}", f"text {number}")
                turn.vectors("kb").upsert([f"v{number}"], [[1, number, 0, 0]], [{"lang": "en"}])
        k.snapshot("before-friday", by="ann")
        model = kedge.Artifact(uri="models:/support/7", digest="sha256:1")
        k.deploy("support-v2", {"support/prompt": "Refund.", "support/model": model}, canary=1.0, by="joe")
        k.deploy("support-v3", {"support/prompt": "Refund twice."}, base="support-v2", by="joe")
        for number in range(4, 8):
            with k.turn(session=f"s-{number}", agent="support") as turn:
                turn.memory.append("user", f"Refund order {number}?")
                turn.memory.append("assistant", "Yes!")
                turn.context.put(f"case/{number - 3}", {"state": "refunded"})
                turn.vectors("kb").upsert([f"v{number - 3}"], [[1, number, 0, 1]], [{"lang": "en"}])
            with k.turn(session=f"s-{number}", agent="librarian") as turn:
                turn.context.items("case/")
                turn.context.put("facts/refunds", {"policy": "always"})
        k.set_level("support", "frozen", by="joe", reason="hold")


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, except SQLite's -shm and -wal files."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
