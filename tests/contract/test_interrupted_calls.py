"""Ctrl-C at any instruction of a call on SQLite: nothing stays locked, in use or half-written.

A signal is posted before an instruction, from C, so that Python handles it where it handles a real one. It is posted
again before each later instruction, until a handler has raised as often as the test asks for.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from types import FrameType
from typing import Any

import pytest

import kedge
from kedge.backends.sqlite.database import FORK_GATE, Database
from kedge.support import fork_lock
from kedge.support.interrupts import _SHIELD, _is_shielded
from tests.concurrency import fork

pytestmark = pytest.mark.only("sqlite", reason="test_postgres_pool interrupts calls on PostgreSQL")
SECONDS = 30
CALLS_A_TEST = 90
_KEDGE = os.path.dirname(kedge.__file__)  # noqa: PTH120 - compared with names of code

_post = ctypes.PyDLL(None).PyErr_SetInterrupt  # takes nothing: the arguments of a trace function are ignored
_post.argtypes, _post.restype = [ctypes.py_object] * 3, None


_HANDLING = {function.__code__ for function in (_SHIELD._handle, _SHIELD._call, _is_shielded)}


class Interrupter:
    """Interrupts one call."""

    def __init__(self, instruction: int, times: int) -> None:
        self.left = instruction
        self.times = times
        self.heard = 0

    def run(self, work: Callable[[], object]) -> None:
        """Call a function, and return when it is over."""
        before, tracer = signal.signal(signal.SIGINT, self._hear), sys.gettrace()
        try:
            sys.settrace(self._trace)
            work()
        except KeyboardInterrupt:
            pass
        finally:
            self.times = 0
            sys.settrace(tracer)
            signal.signal(signal.SIGINT, before)

    def _hear(self, *_: object) -> None:
        self.heard += 1
        if self.heard < self.times:
            raise KeyboardInterrupt
        sys.settrace(None)
        if self.heard == self.times:
            raise KeyboardInterrupt

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_KEDGE) or code in _HANDLING:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
        if self.left > 0:
            return self._trace
        here: FrameType | None = frame
        while here is not None:
            if here.f_trace is not None:
                here.f_trace = _post
            here = here.f_back
        return _post


def instructions(work: Callable[[], object]) -> int:
    """Return how many instructions of Kedge a call runs."""
    most = 1 << 40
    interrupter = Interrupter(most, 0)
    interrupter.run(work)
    return most - interrupter.left


@pytest.fixture(autouse=True)
def drops_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python drop an interruption of a finalizer, as it does outside of pytest."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


@pytest.fixture
def opened(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=3)
        k.deploy("base", {"support/prompt": "hello", "shared/embedder": {"name": "e1", "dim": 3}})
        k.promote("base")
        with k.turn(session="s", agent="support") as turn:
            turn.context.put("case", 1)
            turn.vectors("kb").upsert(["a", "b"], [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        yield k


def database_of(k: kedge.Kedge) -> Database:
    found: Any = k._kernel.backend
    assert isinstance(found.database, Database)
    return found.database


def check_free(database: Database) -> None:
    """Check that nothing is in use; the traceback of the interruption is gone, as after its handler."""
    assert FORK_GATE._holds == {}
    assert database.group_commit._working is None
    assert not database.group_commit._waiting
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with closing(sqlite3.connect(database.path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # of another process


def check_locks() -> None:
    """Check that another thread gets each lock."""
    held: list[object] = []

    def look() -> None:
        for lock in list(fork_lock._fork_safe):
            if lock.here.acquire(timeout=1):
                lock.here.release()
            else:
                held.append(lock)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert held == []


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def check_works(k: kedge.Kedge) -> None:
    """Check that other threads, child processes and this thread read and write."""

    def write(key: str) -> None:
        with k.turn(agent="support") as turn:
            turn.context.put(key, 1)
            turn.vectors("kb").upsert([key], [[1.0, 1.0, 1.0]])
            assert turn.vectors("kb").search([1.0, 2.0, 3.0], k=1)

    thread = threading.Thread(target=write, args=("thread",), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    child = fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            write("child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    write("main")
    assert {"thread", "child", "main"} <= k.view().context.items().keys()
    assert k.fsck(full=True).findings == ()


def interrupt_everywhere(k: kedge.Kedge, work: Callable[[], object], calls: int = CALLS_A_TEST) -> None:
    """Call a function with Ctrl-C at instructions spread over all of it, once to three times."""
    database, count = database_of(k), instructions(work)
    assert count > calls
    heard = 0
    for call in range(calls):
        interrupter = Interrupter(1 + call * count // calls, 1 + call % 3)
        interrupter.run(work)
        heard += interrupter.heard
        check_free(database)
    assert heard > calls / 2, "calls were interrupted"
    check_locks()
    check_works(k)


def write(k: kedge.Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("case", 2)
        turn.memory.append("user", "hello")


def upsert(k: kedge.Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.vectors("kb").upsert(["a"], [[1.0, 2.0, 3.0]])


def cached(k: kedge.Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.cache.get_or_compute("key", lambda: 1)


CALLS: dict[str, Callable[[kedge.Kedge], object]] = {
    "read": lambda k: k.view().context.get("case"),
    "search": lambda k: k.view().vectors("kb").search([1.0, 2.0, 3.0], k=1),
    "write": write,
    "upsert": upsert,
    "control": lambda k: k.set_level("support", "full"),
    "cached": cached,
    "status": lambda k: k.status(),
    "fsck": lambda k: k.fsck(),
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_at_any_moment_leaves_nothing_in_use(opened: kedge.Kedge, name: str) -> None:
    interrupt_everywhere(opened, lambda: CALLS[name](opened))


def test_ctrl_c_at_each_instruction_of_a_transaction_leaves_nothing_in_use(opened: kedge.Kedge) -> None:
    database = database_of(opened)

    def work() -> None:
        with database.writing("test", durable=False, interruptible=True, shares=True) as connection:
            connection.execute("SELECT 1")
        with database.reading() as connection:
            connection.execute("SELECT 1")

    count = instructions(work)
    interrupt_everywhere(opened, work, count - 1)
