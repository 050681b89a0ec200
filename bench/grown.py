"""PostgreSQL with few and with many writes: time of a commit, disk of a write."""

import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import kedge
from bench.big import BAD, fill
from bench.harness import Measured, Setting, commit_time, interleave, median, micro, ratio, timed
from kedge.testing import postgres

SYNCED = {"fsync": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}


def sizes(setting: Setting) -> Iterator[Measured]:
    """Compare two databases of one server that differ only in size."""
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    many, few = setting.sizes.writes, setting.sizes.few_writes
    with postgres.running(SYNCED) as server:
        _ask(server.url(), "CREATE DATABASE few", "CREATE DATABASE many")
        empty = _bytes(server.url("few"))
        setting.say(f"filling PostgreSQL with {many:,} writes, and with {few:,}")
        fill(server.url("few"), few, min(setting.sizes.load_batch, few // 10), setting.sizes.vectors_per_cent)
        began = time.perf_counter()
        fill(server.url("many"), many, setting.sizes.load_batch, setting.sizes.vectors_per_cent)
        loaded = time.perf_counter() - began
        each = (_bytes(server.url("many")) - empty) / many
        with kedge.open(server.url("many")) as big, kedge.open(server.url("few")) as small:
            yield from _commits(setting, big, small)
            yield from _reads(setting, big, small)
        yield Measured(
            f"load of {many:,} writes", many / loaded, "writes/s",
            f"batches of {setting.sizes.load_batch:,}, {setting.sizes.vectors_per_cent} in 100 vectors of 64 numbers",
        )  # fmt: skip
        yield Measured("disk of one write, with indexes and heads", each, "bytes", "without write-ahead log")


def _commits(setting: Setting, big: kedge.Kedge, small: kedge.Kedge) -> Iterator[Measured]:
    taken: dict[kedge.Kedge, list[float]] = {big: [], small: []}
    whole: list[float] = []
    for number in range(-2, setting.sizes.flips):
        for k, seconds in taken.items():
            found = commit_time(partial(k.rollback, BAD, verify=False))
            if number >= 0:
                seconds.append(found)
            k.reinstate(BAD)
    for _ in range(3):
        with timed(whole):
            big.rollback(BAD)
        big.reinstate(BAD)
    many, few = setting.sizes.writes, setting.sizes.few_writes
    yield Measured(
        f"rollback commit: time at {many:,} writes vs at {few:,}", ratio(taken[big], taken[small]), "×",
        f"{median(taken[big]) * 1e3:.2f} ms vs {median(taken[small]) * 1e3:.2f} ms", at_most=1.5,
    )  # fmt: skip
    yield Measured(f"rollback with verification at {many:,} writes", median(whole) * 1e3, "ms")


def _reads(setting: Setting, big: kedge.Kedge, small: kedge.Kedge) -> Iterator[Measured]:
    views = [k.view("session-1") for k in (big, small)]
    heads = [k.view() for k in (big, small)]
    gets, histories = setting.sizes.gets, setting.sizes.ranges

    def get(view: kedge.ReadView) -> None:
        for _ in range(gets):
            view.artifacts.get("support/prompt")

    def history(view: kedge.ReadView) -> None:
        for _ in range(histories):
            view.memory.history(limit=20)

    one, other = interleave(setting.sizes.rounds, lambda: get(heads[0]), lambda: get(heads[1]))
    yield Measured(
        "head read: many writes vs few", ratio(one, other), "×", f"{micro(one, gets)} vs {micro(other, gets)}"
    )
    one, other = interleave(setting.sizes.rounds, lambda: history(views[0]), lambda: history(views[1]))
    told = f"{micro(one, histories)} vs {micro(other, histories)}"
    yield Measured("last 20 messages of a session: many writes vs few", ratio(one, other), "×", told)


def _ask(url: str, *statements: str) -> Any:
    import psycopg  # noqa: PLC0415 - not there where the server is not

    with psycopg.connect(url, autocommit=True) as connection:
        *before, last = statements
        for statement in before:
            connection.execute(statement.encode())
        cursor = connection.execute(last.encode())
        return cursor.fetchone() if cursor.description else None


def _bytes(url: str) -> int:
    return int(_ask(url, "CHECKPOINT", "SELECT pg_database_size(current_database())")[0])
