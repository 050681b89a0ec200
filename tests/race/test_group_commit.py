"""Group commit on SQLite: threads that write at once share a transaction, and each keeps its own outcome."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kedge import errors
from kedge.backends.sqlite import group_commit as module
from kedge.backends.sqlite.backend import SqliteBackend
from kedge.model.appends import HeadMoved
from kedge.model.writes import Batch
from kedge.ports.clock import SystemClock
from kedge.ports.control import EpochMoved
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, context, put
from tests.concurrency import SECONDS, fork, pause_at

Outcome = Any  # the seqs of a member's writes, or its error


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    opened = SqliteBackend(tmp_path / "kedge.db", SystemClock(), cache_bytes=10_000)
    yield opened
    opened.close()


class Queue:
    """Members that wait while the first of them is held in its transaction; then they work as one group."""

    def __init__(self, backend: SqliteBackend) -> None:
        self.backend = backend
        self.driver = BackendDriver(backend)
        self.outcomes: dict[str, Outcome] = {}
        self.commits: list[str] = []
        self._threads: list[threading.Thread] = []
        self._begun, self._released = pause_at("append:begun")
        failpoints.arm("group:committed", lambda: self.commits.append(threading.current_thread().name))

    @property
    def waiting(self) -> int:
        return len(self.backend.database.group_commit._waiting)

    def add(self, name: str, work: Callable[[], object]) -> None:
        """Start a member, and return once it waits (the first: once it has begun)."""

        def run() -> None:
            try:
                self.outcomes[name] = work()
            except BaseException as error:  # noqa: BLE001 - its outcome
                self.outcomes[name] = error

        waiting = self.waiting
        thread = threading.Thread(target=run, name=name)
        self._threads.append(thread)
        thread.start()
        if len(self._threads) == 1:
            assert self._begun.wait(SECONDS)
        else:
            self.until(lambda: self.waiting > waiting)

    def append(self, name: str, **options: Any) -> None:
        """Add a member that appends one write of its name."""
        batch = self.batch(name, **options)
        self.add(name, lambda: self.backend.journal.append(batch).seqs)

    def batch(self, name: str, *, expect: int | None = None, **options: Any) -> Batch:
        return self.driver.batch([put(options.pop("key", name), name, expect=expect)], **options)

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def release(self) -> dict[str, Outcome]:
        """Let the members work, and return their outcomes."""
        self._released.set()
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        failpoints.disarm()
        return self.outcomes

    def names(self) -> set[str]:
        """Return the keys that are there, as another process sees them; check the database."""
        other = SqliteBackend(self.backend.database.path, SystemClock(), cache_bytes=10_000)
        heads = other.journal.range(BackendDriver(other).view(), "context", "").heads
        assert other.fsck(full=True, progress=None).findings == ()
        other.close()
        self.driver.put("later", 1)  # the next write works
        return {head.key.name for head in heads}


def test_waiting_threads_share_one_commit_in_the_order_in_which_they_came(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    names = [f"m{n}" for n in range(8)]
    for name in names:
        queue.append(name)
    outcomes = queue.release()
    assert queue.commits == ["m7"], "one commit, by the last"
    seqs = [outcomes[name][0] for name in names]
    assert seqs == list(range(seqs[0], seqs[0] + 8))
    assert queue.names() == set(names)


def test_the_number_of_members_is_limited(backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_MAX", 3)
    queue = Queue(backend)
    for n in range(7):
        queue.append(f"m{n}")
    queue.release()
    assert queue.commits == ["m2", "m5", "m6"]


@pytest.mark.parametrize("which", [0, 1, 3])
@pytest.mark.parametrize("kind", ["expectation", "statement"])
def test_an_error_of_one_member_undoes_its_work_alone(backend: SqliteBackend, which: int, kind: str) -> None:
    queue = Queue(backend)

    def fail() -> None:
        if threading.current_thread().name == f"m{which}":
            raise sqlite_error(sqlite3.SQLITE_CONSTRAINT)

    if kind == "statement":
        failpoints.arm("append:heads", fail)
    for n in range(4):
        queue.append(f"m{n}", expect=99 if n == which and kind == "expectation" else None)
    outcomes = queue.release()
    failed = outcomes.pop(f"m{which}")
    assert isinstance(failed, HeadMoved if kind == "expectation" else errors.Corruption)
    assert all(isinstance(seqs, list) for seqs in outcomes.values())
    assert queue.names() == set(outcomes)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("made by the test")
    error.sqlite_errorcode = code
    return error


def fail_with(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise sqlite_error(code)

    return fail


@pytest.mark.parametrize(
    ("code", "expected"),
    [(sqlite3.SQLITE_FULL, errors.StorageFull), (sqlite3.SQLITE_IOERR, errors.OutcomeUnknown)],
)
def test_an_error_of_the_commit_is_an_error_of_all(
    backend: SqliteBackend, code: int, expected: type[errors.KedgeError]
) -> None:
    queue = Queue(backend)
    failpoints.arm("group:before-commit", fail_with(code), nth=1)
    for n in range(4):
        queue.append(f"m{n}")
    outcomes = queue.release()
    assert {type(outcome) for outcome in outcomes.values()} == {expected}
    assert len({id(outcome) for outcome in outcomes.values()}) == 4, "each thread has its own"
    assert queue.names() == set()


def test_a_rollback_of_everything_amid_a_group_is_an_error_of_all(backend: SqliteBackend) -> None:
    """SQLite answers some errors, such as a full disk, by rolling back the whole transaction."""
    queue = Queue(backend)
    connections: list[sqlite3.Connection] = []

    def roll_back() -> None:
        if threading.current_thread().name == "m2":
            connections[0].execute("ROLLBACK")
            raise sqlite_error(sqlite3.SQLITE_FULL)

    failpoints.arm("append:rows", roll_back)
    enter = backend.journal._check_expectations

    def noted(connection: sqlite3.Connection, batch: Batch) -> None:
        connections[:] = [connection]
        enter(connection, batch)

    backend.journal._check_expectations = noted  # type: ignore[method-assign]
    for n in range(4):
        queue.append(f"m{n}")
    outcomes = queue.release()
    assert {type(outcomes[f"m{n}"]) for n in range(3)} == {errors.StorageFull}
    assert isinstance(outcomes["m3"], list), "it came after, and began anew"
    assert queue.names() == {"m3"}


def test_ids_that_a_failed_group_had_shown_are_forgotten(backend: SqliteBackend) -> None:
    """A member that compared with another's write has read its lineage, whose id is assigned again."""
    BackendDriver(backend).live("v1", "v2")
    first = BackendDriver(backend).put("base", 0)
    queue = Queue(backend)
    failpoints.arm("group:before-commit", fail_with(sqlite3.SQLITE_FULL), nth=1)
    queue.append("m0", key="shared", lineage=frozenset({1}))
    queue.append("m1", key="shared", expect=first + 1)
    outcomes = queue.release()
    assert {type(outcome) for outcome in outcomes.values()} == {errors.StorageFull}
    for number in (2, 1):
        queue.driver.put(f"of v{number}", 1, lineage=frozenset({number}))
    for seen in (1, 2):
        view = queue.driver.view({seen})
        assert [backend.journal.head(view, context(f"of v{n}")) is not None for n in (1, 2)] == [seen == 1, seen == 2]


def test_two_calls_with_one_idempotency_key_in_a_group_are_one(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    same = queue.batch("same", idempotency="once")
    for n in range(3):
        queue.add(f"m{n}", lambda: backend.journal.append(same).seqs)
    outcomes = queue.release()
    assert outcomes["m0"] == outcomes["m1"] == outcomes["m2"]
    assert queue.names() == {"same"}


def test_a_control_change_commits_alone_and_later_members_see_its_epoch(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    queue.append("before")
    queue.append("beside")
    queue.add("flip", lambda: queue.driver.change("stage", "v1"))
    queue.append("after")
    outcomes = queue.release()
    assert queue.commits == ["beside", "flip"]
    assert isinstance(outcomes["after"], EpochMoved)
    assert queue.names() == {"before", "beside"}


def test_a_large_batch_commits_alone(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    queue.append("before")
    large = queue.driver.batch([put(f"large/{n}", n) for n in range(200)])
    queue.add("large", lambda: backend.journal.append(large).seqs)
    queue.append("after")
    queue.release()
    assert queue.commits == ["before", "large", "after"]


# ── Ctrl-C ──


def interrupt_in(name: str) -> Callable[[], None]:
    def interrupt() -> None:
        if threading.current_thread().name == name:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("which", [0, 1, 3])
def test_an_interrupted_member_takes_nobody_with_it(backend: SqliteBackend, which: int) -> None:
    queue = Queue(backend)
    failpoints.arm("append:rows", interrupt_in(f"m{which}"))
    for n in range(4):
        queue.append(f"m{n}")
    outcomes = queue.release()
    assert isinstance(outcomes.pop(f"m{which}"), KeyboardInterrupt)
    assert all(isinstance(seqs, list) for seqs in outcomes.values())
    assert queue.names() == set(outcomes)


@pytest.mark.parametrize("point", ["group:before-commit", "group:committed"])
def test_an_interruption_of_the_commit_is_for_the_thread_that_commits(backend: SqliteBackend, point: str) -> None:
    queue = Queue(backend)
    failpoints.arm(point, lambda: signal.raise_signal(signal.SIGINT))
    for n in range(3):
        queue.append(f"m{n}")
    main = queue.batch("main")

    def let_go() -> None:
        queue.until(lambda: queue.waiting == 3)
        queue._released.set()

    presser = threading.Thread(target=let_go)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        backend.journal.append(main)
    presser.join()
    outcomes = queue.release()
    assert all(isinstance(seqs, list) for seqs in outcomes.values())
    assert queue.names() == {"m0", "m1", "m2", "main"}


def test_who_is_committed_by_a_thread_that_another_one_stops_is_told_that_nothing_is_known(
    backend: SqliteBackend,
) -> None:
    queue = Queue(backend)
    failpoints.arm("group:before-commit", interrupt_in("m3"))
    for n in range(4):
        queue.append(f"m{n}")
    outcomes = queue.release()
    assert isinstance(outcomes.pop("m3"), KeyboardInterrupt)
    assert all(isinstance(error, errors.OutcomeUnknown) for error in outcomes.values())
    assert queue.names() == set()


@pytest.mark.parametrize("waits_for", ["its turn", "the outcome"])
def test_ctrl_c_ends_a_wait(backend: SqliteBackend, waits_for: str) -> None:
    queue = Queue(backend)
    queue.append("m0")
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        if waits_for == "the outcome" and threading.current_thread().name == "last":
            held.set()
            released.wait(SECONDS)

    failpoints.arm("append:heads", hold)
    main = queue.batch("main")

    def press() -> None:
        queue.until(lambda: queue.waiting == 1)
        if waits_for == "the outcome":
            queue.append("last")
            queue._released.set()
            assert held.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        backend.journal.append(main)
    presser.join()
    released.set()
    outcomes = queue.release()
    assert all(isinstance(seqs, list) for seqs in outcomes.values())
    assert queue.names() == set(outcomes) | ({"main"} if waits_for == "the outcome" else set())


# ── forks and reentrance ──


def test_a_fork_waits_for_the_group_and_its_child_writes(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    queue.append("m0")
    queue.append("m1")
    threading.Timer(0.2, queue._released.set).start()
    pid = fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            failpoints.disarm()
            BackendDriver(backend).put("child", 1)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    queue.release()
    assert queue.names() == {"m0", "m1", "child"}


def test_a_fork_amid_a_member_is_not_held_up_by_the_group_and_its_child_refuses(backend: SqliteBackend) -> None:
    queue = Queue(backend)
    parent = os.getpid()
    children: list[int] = []

    def fork_once() -> None:
        if threading.current_thread().name == "m1" and not children:
            began = time.monotonic()
            children.append(fork())
            assert time.monotonic() - began < SECONDS / 2

    failpoints.arm("append:rows", fork_once)
    queue.append("m0")
    batch = queue.batch("m1")

    def work() -> list[int]:
        try:
            return backend.journal.append(batch).seqs
        except errors.Misuse:
            if os.getpid() != parent:
                os._exit(0)
            raise
        finally:
            if os.getpid() != parent:
                os._exit(1)

    queue.add("m1", work)
    queue.append("m2")
    outcomes = queue.release()
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    assert all(isinstance(seqs, list) for seqs in outcomes.values())
    assert queue.names() == {"m0", "m1", "m2"}


def test_a_write_amid_a_write_of_the_same_thread_is_refused(backend: SqliteBackend) -> None:
    driver = BackendDriver(backend)
    failpoints.arm("append:rows", lambda: driver.put("inner", 1), nth=1)
    with pytest.raises(errors.Busy, match="already"):
        driver.put("outer", 1)
    driver.put("next", 1)
