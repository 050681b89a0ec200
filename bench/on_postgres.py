"""PostgreSQL: appends and compare-and-sets against raw statements, with one writer and with eight."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import msgspec

import kedge
from bench.grouping import sync_seconds
from bench.harness import Measured, Setting, interleave, median, micro, ratio
from bench.moving import moving
from kedge.model.writes import Author, Batch, Key, Pending, decode, encode
from kedge.testing import postgres

VALUE = encode({"status": "shipped", "carrier": "northern", "note": "It was to arrive on Friday."})
WRITERS = 8
_SLOW_SYNC_SECONDS = 1e-3  # where a disk syncs faster, the processors are the limit
INSERT = """
INSERT INTO raw_writes (space, name, lineage, rank, deleted, source, provenance, turn, at, digest, salt, payload)
SELECT 1, n, 0, 1, FALSE, FALSE, 0, 1, 1.0, d, s, p
FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bytea[]) AS r (n, d, s, p)
"""
HEADS = "INSERT INTO raw_heads SELECT 1, 0, 1, 1, 1, FALSE, n FROM unnest(%b::text[]) AS n"
SWAP = "UPDATE raw_values SET seq = seq + 1, payload = %b WHERE name = %s AND seq = %s RETURNING seq"


def on_postgres(setting: Setting) -> Iterator[Measured]:
    """Measure on a server that syncs to disk; yield nothing if it is not installed."""
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    with postgres.running({"fsync": "on", "shared_buffers": "512MB"}) as server:
        raw, ours = _Raw(server.url()), _Ours(server.url())
        try:
            yield from _singles(setting, raw, ours)
            yield from _in_turns(setting, raw, server.url())
            yield from _batches(setting, raw, ours)
            yield from _writers(setting, server.url())
            raw.make_database("unsynced")
            yield from _unsynced(setting, server.url("unsynced"))
            raw.make_database("moved")
            yield from moving(setting, server.url("moved"))
        finally:
            raw.close()
            ours.close()


def _singles(setting: Setting, raw: "_Raw", ours: "_Ours") -> Iterator[Measured]:
    count, numbers = setting.sizes.puts, itertools.count()

    def times(act: Callable[[str], object]) -> Callable[[], None]:
        def repeated() -> None:
            for _ in range(count):
                act(f"k{next(numbers)}")

        return repeated

    theirs, mine = times(lambda name: raw.insert([name])), times(lambda name: ours.append([name]))
    inserted, appended = interleave(setting.sizes.rounds, theirs, mine)
    told = f"{micro(appended, count)} vs {micro(inserted, count)}"
    yield Measured("single append: time vs a raw INSERT", ratio(appended, inserted), "×", told, at_most=2.0)
    swapped, compared = interleave(setting.sizes.rounds, lambda: raw.swap(count), lambda: ours.compare_and_set(count))
    told = f"{micro(compared, count)} vs {micro(swapped, count)}"
    yield Measured(
        "compare-and-set: time vs a raw UPDATE … WHERE seq", ratio(compared, swapped), "×", told, at_most=2.0
    )


def _in_turns(setting: Setting, raw: "_Raw", url: str) -> Iterator[Measured]:
    """Measure the same through turns: values encoded, reads collected and journaled."""
    count, numbers = setting.sizes.puts, itertools.count()
    value, heads = decode(VALUE), dict.fromkeys((f"c{number}" for number in range(count)), 0)
    with kedge.open(url) as k, k.turn(agent="bench") as turn:

        def put() -> None:
            for _ in range(count):
                turn.context.put(f"t{next(numbers)}", value)

        def compare_and_set() -> None:
            for name, seq in heads.items():
                heads[name] = turn.context.put(f"turn/{name}", value, expect=seq)

        def insert() -> None:
            for _ in range(count):
                raw.insert([f"t{next(numbers)}"])

        for what, theirs, mine in (
            ("single put in a turn: time vs a raw INSERT", insert, put),
            ("compare-and-set in a turn: time vs a raw UPDATE … WHERE seq", lambda: raw.swap(count), compare_and_set),
        ):
            rawly, ours = interleave(setting.sizes.rounds, theirs, mine)
            told = f"{micro(ours, count)} vs {micro(rawly, count)}"
            yield Measured(what, ratio(ours, rawly), "×", told, at_most=2.0)


def _unsynced(setting: Setting, url: str) -> Iterator[Measured]:
    """Measure the same without waiting for the disk."""
    raw, ours = _Raw(url, is_synced=False), _Ours(url, "normal")
    for line in _singles(setting, raw, ours):
        yield msgspec.structs.replace(line, name=f"{line.name}, without waiting for the disk", at_most=None)
    raw.close()
    ours.close()


def _batches(setting: Setting, raw: "_Raw", ours: "_Ours") -> Iterator[Measured]:
    numbers = itertools.count()

    def names() -> list[str]:
        return [f"b{next(numbers)}" for _ in range(setting.sizes.batch)]

    inserted, appended = interleave(setting.sizes.rounds, lambda: raw.insert(names()), lambda: ours.append(names()))
    told = f"{micro(appended)} vs {micro(inserted)}; {setting.sizes.batch / median(appended):,.0f} writes/s"
    what = f"batch append of {setting.sizes.batch:,}: rate vs raw unnest at equal indexes"
    yield Measured(what, 1 / ratio(appended, inserted), "×", told, at_least=0.5)


def _writers(setting: Setting, url: str) -> Iterator[Measured]:
    seconds = setting.sizes.write_seconds
    one, many = _rate(url, 1, seconds), _rate(url, WRITERS, seconds)
    told = f"{many:,.0f}/s vs {one:,.0f}/s, threads of one process"
    sync = sync_seconds(setting.folder)
    yield Measured(
        f"single appends: {WRITERS} writers vs one", many / one, "×", f"{told}; a sync takes {sync * 1e3:.2f} ms",
        at_least=3.0 if sync >= _SLOW_SYNC_SECONDS else 1.0,
    )  # fmt: skip


def _rate(url: str, writers: int, seconds: float) -> float:
    """Return how many appends a second so many writers make, each of its own keys."""
    done = [0] * writers
    stop = time.monotonic() + seconds

    def write(number: int) -> None:
        ours = _Ours(url)
        while time.monotonic() < stop:
            ours.append([f"w{number}-{done[number] % 50}"])
            done[number] += 1
        ours.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


class _Raw:
    """The same rows by psycopg alone, into tables with the indexes of Kedge's writes and heads."""

    def __init__(self, url: str, *, is_synced: bool = True) -> None:
        import psycopg  # noqa: PLC0415 - not there where the server is not

        self._connection: Any = psycopg.connect(url, autocommit=True)
        self._round = -1
        if not is_synced:
            self._connection.execute("SET synchronous_commit = off")
        self._connection.execute("""
            CREATE TABLE raw_writes (
                seq BIGSERIAL PRIMARY KEY, space BIGINT, lineage BIGINT, rank BIGINT, provenance BIGINT, turn BIGINT,
                at FLOAT8, deleted BOOL, source BOOL, name TEXT COLLATE "C", digest BYTEA, salt BYTEA, payload BYTEA);
            CREATE INDEX ON raw_writes (space, name, lineage, rank);
            CREATE INDEX ON raw_writes (turn);
            CREATE TABLE raw_heads (
                space BIGINT, lineage BIGINT, rank BIGINT, seq BIGINT, state BIGINT, deleted BOOL,
                name TEXT COLLATE "C", PRIMARY KEY (space, name, lineage));
            CREATE INDEX ON raw_heads (space, state, deleted, name);
            CREATE TABLE raw_values (name TEXT COLLATE "C" PRIMARY KEY, seq BIGINT, payload BYTEA);
            INSERT INTO raw_values SELECT 'c' || n, 0, '' FROM generate_series(0, 999) AS n;
        """)

    def make_database(self, name: str) -> None:
        """Make another database on this server."""
        self._connection.execute(f"CREATE DATABASE {name}")

    def insert(self, names: list[str]) -> None:
        """Insert writes; a batch into both tables, in one transaction."""
        count = len(names)
        rows = ([os.urandom(32)] * count, [os.urandom(16)] * count, [VALUE] * count)
        if count == 1:
            self._connection.execute(INSERT, (names, *rows))
            return
        with self._connection.transaction():
            self._connection.execute(INSERT, (names, *rows))
            self._connection.execute(HEADS, (names,))

    def swap(self, count: int) -> None:
        """Replace so many values if they are what they were."""
        self._round += 1
        for number in range(count):
            assert self._connection.execute(SWAP, (VALUE, f"c{number}", self._round)).fetchone()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _Ours:
    """Kedge's journal."""

    def __init__(self, url: str, durability: str = "full") -> None:
        from kedge.backends.postgres.backend import PostgresBackend  # noqa: PLC0415 - as above

        self._backend = PostgresBackend(url, durability=durability, cache_bytes=1_000)
        self._batch = Batch(self._backend.control.epoch(), Author(os.urandom(8).hex(), agent="bench"), ())
        self._heads: dict[str, int] = {}

    def append(self, names: list[str]) -> None:
        """Append a batch."""
        writes = tuple(Pending(Key("context", "", name), VALUE) for name in names)
        self._backend.journal.append(msgspec.structs.replace(self._batch, writes=writes))

    def compare_and_set(self, count: int) -> None:
        """Put so many values where the head is what it was."""
        for name in (f"c{number}" for number in range(count)):
            write = Pending(Key("context", "", name), VALUE, expect=self._heads.get(name, 0))
            batch = msgspec.structs.replace(self._batch, writes=(write,))
            self._heads[name] = self._backend.journal.append(batch).seqs[0]

    def close(self) -> None:
        """Close the database."""
        self._backend.close()
