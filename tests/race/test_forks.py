"""Forks while other threads work: the child works or refuses clearly, and the parent goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite import database as sqlite
from kedge.backends.sqlite.cache_files import exclusive_lock
from kedge.reconcilers.shell import ShellReconciler
from kedge.support import failpoints
from tests.concurrency import fork, pause_at
from tests.workers import DIM

SECONDS = 40
FORKS = {"sqlite": 50, "postgresql": 10}


def child(work: Callable[[], object]) -> int:
    """Fork, and run a function in the child; return its process id."""
    pid = fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the child ends here
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@contextmanager
def going_on(work: Callable[[int], object]) -> Iterator[list[int]]:
    """Call a function in a thread, again and again; give the list of what it has done."""
    stop, done, failed = threading.Event(), list[int](), list[BaseException]()

    def run() -> None:
        try:
            while not stop.is_set():
                work(len(done))
                done.append(len(done))
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        yield opened


def test_a_child_writes_while_a_thread_of_its_parent_writes(k: kedge.Kedge, place: str) -> None:
    def write(number: int) -> None:
        with k.turn(agent="support") as turn:
            turn.context.put(f"parent/{number}", number)
            turn.vectors("kb").upsert([f"parent-{number}"], [[1.0] * DIM])
        time.sleep(0.002)  # SQLite's lock is not fair: without it, a child waits for seconds

    def in_child(number: int) -> None:
        with k.turn(agent="support") as turn:
            turn.context.put(f"child/{number}", number)
        with kedge.open(place, durability="normal") as again, again.turn(agent="support") as turn:
            turn.context.put(f"anew/{number}", number)
            turn.vectors("kb").search([1.0] * DIM, k=1)

    forks = range(FORKS[place.partition(":")[0]])
    with going_on(write) as written:
        assert all(ended_well(child(lambda number=number: in_child(number))) for number in forks)  # type: ignore[misc]
    items = k.view().context.items()
    assert {key for key in items if not key.startswith("parent/")} == {
        f"{who}/{number}" for who in ("child", "anew") for number in forks
    }
    assert {key for key in items if key.startswith("parent/")} == {f"parent/{number}" for number in written}
    assert k.fsck(full=True).findings == ()


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS / 2
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ── watchers and members ──


@pytest.mark.both
@pytest.mark.parametrize("where", ["parent", "child"])
def test_callbacks_are_called_in_a_child(k: kedge.Kedge, where: str) -> None:
    called: list[int] = []
    if where == "parent":
        k.on_change(called.append)
    else:
        k.on_change(lambda _: None)  # its thread does not exist in the child

    def in_child() -> None:
        if where == "child":
            k.on_change(called.append)
        called.clear()
        k.set_level("support", "frozen")
        eventually(lambda: k.epoch in called)

    assert ended_well(child(in_child))
    if where == "parent":
        eventually(lambda: k.epoch in called)


def test_a_member_s_child_calls_back_and_does_not_act_as_the_member(k: kedge.Kedge, place: str) -> None:
    called: list[int] = []
    k.on_change(called.append)

    def in_child() -> None:
        called.clear()
        with pytest.raises(kedge.LeaseExpired, match="a fork of the member"):
            k.turn(agent="support")
        with kedge.open(place, durability="normal") as other:
            epoch = other.epoch
            other.set_level("support", "frozen")
            eventually(lambda: max(called, default=0) > epoch)
        k.close()

    with k.join("parent", lease_seconds=SECONDS) as member:
        assert ended_well(child(in_child))
        member.check()
        eventually(lambda: member.epoch == k.epoch)
        assert [shown.name for shown in k.members()] == ["parent"]


# ── files, locks, names ──


@pytest.mark.only("sqlite", reason="it has files")
def test_a_child_inherits_no_open_file_of_the_database(k: kedge.Kedge, tmp_path: Path) -> None:
    with k.turn(agent="support") as turn:
        turn.context.put("a", 1)

    files = [path.stat().st_ino for path in tmp_path.iterdir()]

    def in_child() -> None:
        for descriptor in range(256):
            with suppress(OSError):
                assert os.fstat(descriptor).st_ino not in files

    assert ended_well(child(in_child))
    with k.turn(agent="support") as turn:
        turn.context.put("a", 2)


@pytest.mark.only("sqlite", reason="PostgreSQL's connections stay with the parent")
def test_a_fork_in_the_middle_of_a_call_gives_a_child_that_refuses(
    k: kedge.Kedge, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite.FORK_GATE, "wait_seconds", 0.3)
    begun, released = pause_at("append:begun")

    def write() -> None:
        with k.turn(agent="support") as turn:
            turn.context.put("parent", 1)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(SECONDS)

    def in_child() -> None:
        failpoints.disarm()
        began = time.monotonic()
        with pytest.raises(kedge.Misuse, match="was forked while a call"):
            k.view()
        with pytest.raises(kedge.Misuse, match="was forked while a call"):
            kedge.open(place)
        assert time.monotonic() - began < SECONDS / 4

    assert ended_well(child(in_child))
    released.set()
    thread.join()
    assert k.view().context.get("parent") == 1
    assert k.fsck(full=True).findings == ()


@pytest.mark.only("sqlite", reason="it has files")
def test_a_child_does_not_keep_its_parent_s_file_locks(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with exclusive_lock(tmp_path / "lock") as is_ours:
        assert is_ours
        pid = child(lambda: os.read(reader, 1))
    try:
        with exclusive_lock(tmp_path / "lock") as is_ours:
            assert is_ours
    finally:
        os.write(writer, b"x")
        assert ended_well(pid)


@pytest.mark.only("sqlite", reason="it compacts in this process")
def test_a_child_compacts_after_a_fork_in_the_middle_of_a_compaction(k: kedge.Kedge) -> None:
    names, rows = [str(number) for number in range(200)], np.ones((200, DIM), np.float32)
    for _ in range(2):
        with k.turn(agent="support") as turn:
            turn.vectors("kb").upsert(names, rows)
    k.set_retention(1e-6)
    time.sleep(0.01)
    begun, released = pause_at("compaction:copied")
    thread = threading.Thread(target=k.optimize)
    thread.start()
    assert begun.wait(SECONDS)

    def in_child() -> None:
        failpoints.disarm()
        k.optimize("kb")
        assert k.view().vectors("kb").count() == len(names)
        k.close()

    pid = child(in_child)
    released.set()
    thread.join()
    assert ended_well(pid)
    assert k.view().vectors("kb").count() == len(names)
    assert k.fsck(full=True).findings == ()


def test_ids_of_parent_and_child_differ(k: kedge.Kedge) -> None:
    def in_child() -> None:
        with k.turn(agent="support") as turn:
            turn.context.put("child", turn.id)

    assert ended_well(child(in_child))
    with k.turn(agent="support") as turn:
        assert turn.context.get("child") != turn.id


def test_a_child_does_not_kill_its_parent_s_commands(tmp_path: Path) -> None:
    done = tmp_path / "done"
    shell = ShellReconciler("a", observe=f"sleep 1; echo x > {done}; echo digest", converge="true")
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(shell.observe("a", SECONDS)))
    thread.start()
    eventually(lambda: shell._running)
    assert ended_well(child(shell.interrupt))
    thread.join()
    assert answers == ["digest"]
