"""Single-statement appends on PostgreSQL: equal to two round trips, and no write where another came first."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kedge
from kedge.backends.postgres.backend import PostgresBackend
from kedge.backends.postgres.fast_append import FastAppender
from kedge.backends.postgres.journal import PostgresJournal
from kedge.errors import RolledBack
from kedge.model.lineage import EMPTY
from kedge.model.reads import Reads, pack
from kedge.model.writes import Key, Pending, decode, encode, memory_name
from kedge.ports.clock import SystemClock
from kedge.ports.control import EpochMoved
from kedge.ports.journal import HeadMoved
from kedge.testing import postgres
from kedge.testing.contracts.backend_driver import BackendDriver, context, delete, put
from kedge.testing.proxy import Proxy
from tests.concurrency import pause_at
from tests.databases import create, drop, raw_rows

ONE = frozenset({1})
PREPARED = 8  # calls after which every statement is prepared
WAITING = b"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%append_one%'"
TABLES = {
    "writes": "SELECT seq, space, lineage, rank, provenance, turn, at, fresh_for, deleted, source, name, payload "
    "FROM kedge.writes",
    **{name: f"SELECT * FROM kedge.{name}" for name in ("heads", "counters", "reads", "idempotency", "states")},
}


class StoodStill(SystemClock):
    def now(self) -> float:
        return 1e9


@pytest.fixture
def backend(postgres_url: str) -> Iterator[PostgresBackend]:
    opened = PostgresBackend(postgres_url, durability="normal", cache_bytes=10_000)
    yield opened
    opened.close()


@pytest.fixture
def other(postgres_url: str) -> Iterator[PostgresBackend]:
    opened = PostgresBackend(postgres_url, durability="normal", cache_bytes=10_000)
    yield opened
    opened.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each append, whether it was a fast append that succeeded."""
    found: list[bool] = []
    append_one = PostgresJournal._append_one

    def spied(self: Any, *args: Any) -> int | None:
        seq = append_one(self, *args)
        found.append(seq is not None)
        return seq

    monkeypatch.setattr(PostgresJournal, "_append_one", spied)
    return found


def message(text: str, *, source: bool = False) -> Pending:
    return Pending(Key("memory", "s", ""), encode({"role": "user", "content": text}), source)


def work(driver: BackendDriver, seed: int) -> list[object]:
    """Do what turns do, one write at a time; return what came of it."""
    dice = random.Random(seed)
    done: list[object] = []
    heads: dict[str, int] = {}
    driver.live("v1", "v2")
    for number in range(120):
        name, lineage = f"k{dice.randrange(4)}", dice.choice([EMPTY, EMPTY, EMPTY, ONE])
        value = f"{number}"
        options: dict[str, Any] = {"lineage": lineage}
        if dice.random() < 0.2:
            options["reads"] = pack(Reads([number]))
        if dice.random() < 0.2:
            options["idempotency"] = f"call {dice.randrange(8)}"
            value = "always"
        writes = [
            put(name, value),
            put(name, value, source=True),
            put(name, value, fresh_for=2),
            put(name, value, expect=heads.get(name, 0) if dice.random() < 0.8 else 1),
            delete(name),
            message(value),
            message(value, source=True),
            put(name, value, store="documents", space="kb", source=True),
        ]
        write = dice.choice(writes)
        try:
            seq = driver.append([write], **options)[0]
        except (HeadMoved, kedge.Conflict) as error:
            done.append(type(error).__name__)
            continue
        if write.key.store == "context" and not write.source:
            heads[name] = seq
        done.append(seq)
    return done


@pytest.mark.parametrize("seed", range(3))
def test_a_write_of_one_statement_is_the_same_as_one_of_two_round_trips(
    postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch, told: list[bool], seed: int
) -> None:
    found = []
    for is_fast in (True, False):
        if not is_fast:
            monkeypatch.setattr(FastAppender, "plan", lambda *_: None)
        url = create(postgres_server)
        backend = PostgresBackend(url, StoodStill(), durability="normal", cache_bytes=10_000)
        done = work(BackendDriver(backend), seed)
        found.append((done, {table: sorted(raw_rows(url, sql), key=repr) for table, sql in TABLES.items()}))
        assert backend.fsck(full=True, progress=None).findings == ()
        backend.close()
        drop(postgres_server, url)
    assert told.count(True) > 30
    assert told.count(False) > 10
    assert found[0] == found[1]


def test_a_message_of_one_statement_is_named_after_its_seq(backend: PostgresBackend, told: list[bool]) -> None:
    driver = BackendDriver(backend)
    seqs = [driver.append([message(f"{n}")])[0] for n in range(4)]
    assert told == [True, True]
    names = [head.key.name for head in backend.journal.range(driver.view(), "memory", "s").heads]
    assert names == [memory_name(seq, seq) for seq in seqs]


def test_its_plans_walk_over_no_table_however_it_has_grown(backend: PostgresBackend, other: PostgresBackend) -> None:
    def walked_over() -> int:
        backend.database.ask(b"SELECT pg_stat_force_next_flush()")
        counted = b"SELECT sum(seq_tup_read)::int8 FROM pg_stat_user_tables WHERE relname IN ('heads', 'writes')"
        return int(backend.database.ask(counted)[0][0])

    backend.database.maintain(b"VACUUM ANALYZE kedge.heads, kedge.writes")  # known to be empty, from here on
    driver = BackendDriver(backend)
    for number in range(4 * PREPARED):
        driver.put("k", number)
    BackendDriver(other).append([put(f"k{number}", number) for number in range(2_000)])
    before = walked_over()
    driver.put("k", "last")
    assert walked_over() - before < 100


# ── what another did first ──


def warm(driver: BackendDriver) -> None:
    """Have what a write needs remembered."""
    driver.put("warm", 1)
    driver.put("warm", 2)


def meanwhile(backend: PostgresBackend, first: Callable[[], object], second: Callable[[], object]) -> None:
    """Do `second` while `first` is under way, before its commit; the second has to wait for the first one's lane."""
    begun, released = pause_at("append:before-commit")
    one, two = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    assert begun.wait(30)
    two.start()
    deadline = time.monotonic() + 10
    while not backend.database.ask(WAITING):
        assert time.monotonic() < deadline, "it was not a fast append"
        time.sleep(0.01)
    released.set()
    one.join()
    two.join()


def test_a_head_that_came_while_a_lane_was_waited_for_is_seen(
    backend: PostgresBackend, other: PostgresBackend, told: list[bool]
) -> None:
    driver, elsewhere = BackendDriver(backend), BackendDriver(other)
    driver.live("v1")
    warm(driver)
    meanwhile(backend, lambda: elsewhere.put("k", "theirs", lineage=ONE), lambda: driver.put("k", "ours"))
    assert told == [False], "another lineage has a head there by now"
    driver.change("roll_back", "v1")
    head = backend.journal.head(driver.view(), context("k"))
    assert head is not None
    assert decode(head.payload) == "ours"
    assert backend.fsck(full=True, progress=None).findings == ()


def test_a_head_that_moved_while_a_lane_was_waited_for_is_not_written_over(
    backend: PostgresBackend, other: PostgresBackend, told: list[bool]
) -> None:
    driver, elsewhere = BackendDriver(backend), BackendDriver(other)
    warm(driver)
    seq = driver.put("k", "old")
    refused = []

    def swap() -> None:
        try:
            driver.append([put("k", "ours", expect=seq)])
        except HeadMoved as error:
            refused.append(str(error))

    meanwhile(backend, lambda: elsewhere.put("k", "theirs"), swap)
    assert told == [True, False]
    assert len(refused) == 1
    assert f"not {seq}" in refused[0]


def test_a_call_that_was_repeated_while_a_lane_was_waited_for_is_done_once(
    backend: PostgresBackend, other: PostgresBackend
) -> None:
    driver, elsewhere = BackendDriver(backend), BackendDriver(other)
    warm(driver)
    seqs: list[int] = []

    def call(by: BackendDriver) -> Callable[[], None]:
        return lambda: seqs.append(by.put("k", 1, idempotency="once"))

    meanwhile(backend, call(elsewhere), call(driver))
    assert seqs[0] == seqs[1]
    assert backend.database.ask(b"SELECT count(*) FROM kedge.writes WHERE name = 'k'") == [(1,)]


def test_a_head_that_its_view_does_not_see_is_not_what_is_compared(backend: PostgresBackend, told: list[bool]) -> None:
    driver = BackendDriver(backend)
    driver.live("v1")
    seqs = [driver.put("k", value, lineage=ONE) for value in range(3)]
    with pytest.raises(HeadMoved, match=f"is seq 0, not {seqs[-1]}"):
        driver.append([put("k", 3, expect=seqs[-1])], lineage=ONE, seen=())
    assert told == [True]


def test_it_is_refused_once_the_record_has_moved(backend: PostgresBackend, told: list[bool]) -> None:
    driver = BackendDriver(backend)
    warm(driver)
    batch = driver.batch([put("k", 1)])
    driver.change("stage", "v1")
    with pytest.raises(EpochMoved):
        backend.journal.append(batch)
    assert told == [False]


def test_what_carries_something_purged_is_refused(backend: PostgresBackend, told: list[bool]) -> None:
    driver = BackendDriver(backend)
    driver.live("v1")
    for value in range(4):
        driver.put("k", value, lineage=ONE)
    assert told == [True, True]
    driver.change("roll_back", "v1")
    driver.put("other", 1, lineage=ONE)  # hidden on arrival
    driver.change("purge", "v1")
    for _ in range(2):
        with pytest.raises(RolledBack, match="purged"):
            driver.put("k", 3, lineage=ONE)
    assert told == [True, True]


# ── an answer that is lost ──


def test_what_is_cut_off_at_any_byte_is_done_once(
    postgres_url: str, postgres_server: postgres.Server, told: list[bool]
) -> None:
    with Proxy(postgres_server.port, seed=7) as proxy:
        backend = PostgresBackend(proxy.url(postgres_url), durability="normal", cache_bytes=10_000)
        driver, names = BackendDriver(backend), (f"k{n:03}" for n in itertools.count())
        driver.live("v1")
        seqs, before = [], dict(proxy.passed)
        for _ in range(PREPARED):
            before = dict(proxy.passed)
            seqs.append(driver.put(next(names), 1))
        took = {way: proxy.passed[way] - before[way] for way in before}
        for way, size in took.items():
            for byte in {*range(1, size, max(1, size // 8)), size - 1}:
                proxy.cut_at(way, byte)
                seqs.append(driver.put(next(names), 1))
                proxy.heal()
        assert len(told) == len(seqs) - 2
        assert [row[0] for row in raw_rows(postgres_url, "SELECT seq FROM kedge.writes ORDER BY seq")] == seqs
        backend.close()


def test_what_was_not_sent_since_the_server_had_gone_was_not_done(
    postgres_url: str, postgres_server: postgres.Server
) -> None:
    with Proxy(postgres_server.port) as proxy:
        backend = PostgresBackend(proxy.url(postgres_url), cache_bytes=10_000, retry_seconds=0.2)
        driver = BackendDriver(backend)
        warm(driver)
        batch = driver.batch([put("k", 1)])
    with pytest.raises(kedge.Unreachable, match="nothing was done"):
        backend.journal.append(batch)
    backend.close()


def test_what_arrives_after_it_was_given_up_does_nothing(
    postgres_url: str, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.backends.postgres.liveness.ASK_SECONDS", 0.1)
    with Proxy(postgres_server.port) as proxy:
        backend = PostgresBackend(proxy.url(postgres_url), durability="normal", cache_bytes=10_000)
        driver = BackendDriver(backend)
        warm(driver)
        batch = driver.batch([put("k", "first")])
        pid = backend.database.ask(b"SELECT pg_backend_pid()")[0][0]
        proxy.hold("requests", new=False)
        seqs = [backend.journal.append(batch).seqs[0], driver.put("k", "second")]
        proxy.heal()
        while raw_rows(postgres_url, f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"):
            time.sleep(0.01)
        assert raw_rows(postgres_url, "SELECT seq FROM kedge.writes WHERE name = 'k' ORDER BY seq") == [
            (seq,) for seq in seqs
        ]
        backend.close()
