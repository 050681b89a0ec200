"""Group commit on SQLite: eight threads that wait for the disk, beside eight that do not."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import kedge
from bench.harness import Measured, Setting, interleave, median, micro, ratio
from kedge.backends.sqlite.group_commit import Lent
from kedge.model.choices import DurabilityName

THREADS = 8
SYNCS_SECONDS = 50e-6  # a file system that takes less has no disk


def grouping(setting: Setting) -> Iterator[Measured]:
    """Compare durable writes with writes that do not wait for the disk, by one thread and by eight."""
    sync = sync_seconds(setting.folder)
    yield Measured("one fdatasync of 4 KiB in the folder of the databases", sync * 1e3, "ms")
    syncs = sync >= SYNCS_SECONDS
    with ExitStack() as stack:
        full = stack.enter_context(_Writers(setting.fresh("full"), "full"))
        normal, quick, alone = (
            stack.enter_context(_Writers(setting.fresh(name), "normal")) for name in ("normal", "quick", "alone")
        )
        alone.commit_alone()
        count = setting.sizes.puts
        one, eight, fast, grouped, ungrouped = interleave(
            setting.sizes.rounds,
            lambda: full.write(1, count),
            lambda: full.write(THREADS, count),
            lambda: normal.write(THREADS, count),
            lambda: quick.write(1, count),  # without syncs, in which the difference would be lost
            lambda: alone.write(1, count),
        )
    yield Measured(
        f"{THREADS} threads: rate of durable writes vs writes that do not wait for the disk",
        1 / ratio(eight, fast), "×",
        f"{THREADS * count / median(eight):,.0f}/s vs {THREADS * count / median(fast):,.0f}/s",
        at_least=0.6 if syncs else None,
    )  # fmt: skip
    yield Measured(
        f"durable writes: {THREADS} threads vs one", THREADS / ratio(eight, one), "×", f"{count / median(one):,.0f}/s"
    )
    yield Measured(
        "one thread, without syncs: time of a write with group commit vs without", ratio(grouped, ungrouped), "×",
        f"{micro(grouped, count)} vs {micro(ungrouped, count)}", at_most=1.1,
    )  # fmt: skip


def sync_seconds(folder: Path, rounds: int = 100) -> float:
    """Return how long the disk of a folder takes to sync 4 KiB, in the median."""
    path, taken = folder / "sync-probe", []
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for number in range(rounds):
            os.pwrite(file, bytes(4096), number * 4096)
            began = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return median(taken)


class _Writers:
    """Threads with a turn each, on one database."""

    def __init__(self, place: Path, durability: DurabilityName) -> None:
        self._k = kedge.open(place, durability=durability)
        self._turns = [self._k.turn(session=f"s-{number}", agent="a") for number in range(THREADS)]
        self._numbers = [0] * THREADS

    def commit_alone(self) -> None:
        """Give each write a transaction of its own, without a look at other threads."""
        database: Any = self._k._kernel.backend.database  # type: ignore[attr-defined]

        @contextmanager
        def member(begin: Callable[[], Lent], *, shares: bool) -> Iterator[sqlite3.Connection]:  # noqa: ARG001
            lent = begin()
            try:
                yield lent.connection
                lent.connection.execute("COMMIT")
            finally:
                database._end(lent)

        database.group_commit.member = member

    def write(self, threads: int, count: int) -> None:
        """Let each of so many threads write so many values, one by one."""

        def work(number: int) -> None:
            for _ in range(count):
                self._numbers[number] += 1
                self._turns[number].context.put(f"case/{number}/{self._numbers[number]}", {"status": "shipped"})

        started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._k.close()
