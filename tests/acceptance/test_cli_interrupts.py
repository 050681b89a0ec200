"""Ctrl-C again and again: the exit code and the last line say what the command did."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.cli import streams
from tests.acceptance.cli import Run, spawn

SECONDS = 60
PAUSES = (0.0, 0.0005, 0.005)  # between two times that Ctrl-C is pressed


class Keyboard:
    """Ctrl-C at each line that is printed, once it is pressed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_pressed = False
        write = streams.GuardedStream.write

        def pressing(stream: streams.GuardedStream, text: str) -> int:
            if self.is_pressed:
                signal.raise_signal(signal.SIGINT)
            return write(stream, text)

        monkeypatch.setattr(streams.GuardedStream, "write", pressing)

    def press(self, *_: object, **__: object) -> None:
        """Press Ctrl-C, and keep it pressed."""
        self.is_pressed = True
        raise KeyboardInterrupt

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function after which it is kept pressed."""

        def call(*arguments: Any, **options: Any) -> Any:
            done = function(*arguments, **options)
            self.is_pressed = True
            return done

        return call


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Keyboard(monkeypatch)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_ctrl_c_while_the_verdict_is_printed_does_not_stop_it(
    run: Run, keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kedge.Kedge, "close", keyboard.after(kedge.Kedge.close))
    result = run("rollback", "support-v2", "--yes")
    assert result.code == 0, result
    assert "rolled back and verified" in result.out
    assert last_line(result.out) == "To undo: kedge reinstate support-v2"


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_ctrl_c_while_it_is_printed_what_the_first_one_has_stopped_does_not_stop_that(
    run: Run, keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kedge.recovery.rollback.wait_for_members", keyboard.press)
        result = run("rollback", "support-v2", "--yes", *extra)
    assert result.code == 130
    told = result.document["error"]["message"] if extra else " ".join(result.err.split())
    assert "stopped, but the rollback IS COMMITTED: support-v2 is rolled back. Its remaining steps" in told
    assert told.endswith("run `kedge recover` to finish them")


@pytest.mark.parametrize("argv", [("status",), ("recover",), ("deploy", "x", "--artifact", "a/prompt=hello")])
def test_ctrl_c_while_it_is_printed_that_a_command_was_stopped_does_not_stop_that(
    run: Run, keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    monkeypatch.setattr(kedge.Kedge, "__enter__", keyboard.press)
    result = run(*argv)
    assert result.code == 130
    assert "kedge: stopped" in result.err


def test_ctrl_c_while_it_is_looked_up_what_was_done_says_how_to_find_out(
    run: Run, keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kedge.recovery.rollback.wait_for_members", keyboard.press)
        patch.setattr("kedge.cli.interrupts._outcome", keyboard.press)
        result = run("rollback", "support-v2", "--yes")
    assert result.code == 130
    assert "the rollback of support-v2 is committed is not known: run `kedge status`" in " ".join(result.err.split())


@pytest.mark.parametrize("pause_seconds", PAUSES)
def test_ctrl_c_pressed_without_end_leaves_the_truth_as_the_last_line(
    world: Path, tmp_path: Path, pause_seconds: float
) -> None:
    over = threading.Event()
    with spawn("rollback", "support-v2", "--yes", "--db", str(world), cwd=tmp_path, env={"COLUMNS": "300"}) as process:

        def press() -> None:
            while not over.wait(pause_seconds):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)

        assert process.stderr is not None
        said = process.stderr.readline()
        thread = threading.Thread(target=press)
        thread.start()
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            over.set()
            thread.join()
    said, code = said + err, process.returncode
    assert "Traceback" not in said, said
    with kedge.open(world) as k:
        status = k.deployment("support-v2").status
    if code == 0:
        assert last_line(out) == "To undo: kedge reinstate support-v2"
    else:
        assert code == 130
        assert last_line(said).startswith("kedge: stopped")
        assert ("IS COMMITTED" in last_line(said)) <= (status == "rolled back")
        assert ("nothing was changed" in last_line(said)) <= (status == "canary")
