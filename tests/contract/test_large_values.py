"""Values of documents, facts and users' own stores to 256 MiB: written whole, and read only where asked for."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import kedge
import kedge.aio
from kedge import Kedge
from kedge.backends.sqlite import journal
from kedge.cli.terminal import one_line
from kedge.model import migration, writes
from kedge.model.writes import VALUE_BYTES_MAX, Author, Batch, Key, Pending, digest
from kedge.stores import keyed
from kedge.turns.scope import scope_of
from tests.databases import NewPlace
from tests.statements import statements

MORE = VALUE_BYTES_MAX + 1_000_000  # no store took as much before
LARGE = {"bytes": bytes(range(256)) * (MORE // 256), "json": {"text": "é" * (MORE // 2), "list": [1, None]}}


def lengths(place: str) -> list[int]:
    """Return the lengths of all stored payloads of more than a million bytes."""
    sql = "SELECT length(payload) FROM {}writes WHERE length(payload) > 1000000 ORDER BY 1"
    if place.startswith("postgres"):
        with psycopg.connect(place) as connection:
            return [length for (length,) in connection.execute(sql.format("kedge."))]
    with sqlite3.connect(place.removeprefix("sqlite:///")) as opened:
        return [length for (length,) in opened.execute(sql.format(""))]


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_value_comes_back_as_it_was(k: Kedge, kind: str) -> None:
    value: Any = LARGE[kind]
    puts: Any
    with k.turn("s", "clerk") as turn:
        for number, puts in enumerate((turn.context, turn.documents("kb"), turn.store("saved").space("s"))):
            seq = puts.put("a", value, idempotency=f"once {number}", expect=0)
            assert puts.put("a", value, idempotency=f"once {number}", expect=0) == seq
            assert puts.get("a") == value
            with pytest.raises(kedge.IdempotencyMismatch, match="another write"):
                puts.put("a", [value] if kind == "json" else value + b"x", idempotency=f"once {number}")
    k.snapshot("then")
    with k.turn("s", "clerk") as turn:
        found = turn.context.entry("a")
        assert found is not None
        turn.context.put("a", "short", expect=found.seq)
    view = k.at("then")
    assert (view.context.get("a"), k.view().context.get("a")) == (value, "short")
    assert view.store("saved").space("s").get_many(["a", "b"]) == {"a": value}
    assert view.documents("kb").items() == {"a": value}
    assert k.fsck(full=True).findings == ()


def test_a_large_value_goes_with_its_deployment_and_its_session(k: Kedge, place: str) -> None:
    value = LARGE["bytes"]
    k.deploy("v2", {"late/prompt": "v2"})
    k.promote("v2")
    with k.turn("s", "late") as turn:
        space = turn.store("saved").space("s")
        first = space.put("a", value)
        space.put("a", "short")
    k.fork_session("s", "t")
    assert lengths(place) == [len(value) + 1]
    k.rewind("s", first)
    assert k.view(session="s").store("saved").space("s").get("a") == value
    assert k.view(session="t").store("saved").space("t").get("a") == "short"
    k.fork_session("s", "u")
    assert k.view(session="u").store("saved").space("u").get("a") == value
    assert lengths(place) == [len(value) + 1] * 3
    k.rollback("v2", reason="a test", wait=0)
    assert k.view(session="s").store("saved").space("s").get("a") is None
    k.reinstate("v2")
    assert k.view(session="s").store("saved").space("s").get("a") == value
    k.rollback("v2", reason="a test", wait=0)
    k.purge("v2", confirm="v2")
    assert lengths(place) == []
    assert k.fsck(full=True).findings == ()


def test_a_large_value_is_reclaimed(k: Kedge, place: str, clock: Any) -> None:
    with k.turn(agent="clerk") as turn:
        turn.context.put("a", LARGE["bytes"])
        turn.context.put("a", "short")
    clock.time += 86_400
    k.set_retention(3_600, store="context")
    assert k.reclaim().stores["context"].bytes > VALUE_BYTES_MAX
    assert lengths(place) == []
    assert k.fsck(full=True).findings == ()


def test_the_limits(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "LARGE_BYTES_MAX", 1_000)
    with k.turn("s", "clerk") as turn:
        for puts in (turn.context, turn.documents("kb"), turn.store("saved").space("s")):
            puts.put("bytes", b"x" * 1_000)
            puts.put("json", "x" * 998)
            for value in (b"x" * 1_001, "x" * 999):
                with pytest.raises(kedge.InvalidValue, match="more than 1,000; keep it in a file or object store"):
                    puts.put("more", value)
            assert puts.get("more") is None
    big = "x" * VALUE_BYTES_MAX
    with k.turn("s", "support") as turn:
        for refused in (
            lambda: turn.memory.append("user", big),
            lambda: turn.vectors("kb").upsert(["a"], np.ones((1, 3)), [{"text": big}]),
            lambda: turn.cache.get_or_compute("a", lambda: big),
        ):
            with pytest.raises(kedge.InvalidValue, match="more than 8,388,608"):
                refused()
    assert writes.LARGE_BYTES_MAX == 256 << 20


@contextmanager
def lowered(most: int) -> Iterator[None]:
    """Copy and check so few bytes at a time, and put so few in a statement."""
    from kedge.backends.postgres import batch_insert  # noqa: PLC0415 - its driver is an extra
    from kedge.backends.postgres.fsck import writes as checks  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migration, "PAYLOAD_BYTES", most)
        patch.setattr(checks, "PAYLOAD_BYTES", most)
        patch.setattr(batch_insert, "_PART_BYTES", most)
        patch.setattr(batch_insert, "VALUE_BYTES_MAX", most)
        yield


def test_what_is_copied_and_checked_at_a_time_is_limited(new_place: NewPlace) -> None:
    a, b = new_place(), new_place()
    with kedge.open(a, durability="normal") as k:
        for number in range(3):
            with k.turn(agent="clerk") as turn:
                turn.context.put_many({f"{number}/{n}": "x" * 100 for n in range(4)})
                turn.context.delete(f"{number}/1")
        seen = k.fsck(full=True).checked
        with lowered(250):
            report = k.fsck(full=True)
    assert (report.findings, report.checked) == ((), seen)
    with lowered(250):
        exporter: Any
        if a.startswith("sqlite"):
            from kedge.backends.sqlite.migration import SqliteExporter  # noqa: PLC0415

            exporter = SqliteExporter(Path(a.removeprefix("sqlite:///")))
        else:
            from kedge.backends.postgres.migration import PostgresExporter  # noqa: PLC0415

            exporter = PostgresExporter(a)
        after, sizes = 0, []
        while rows := exporter.writes(after, 1_000, 2_000):
            sizes.append(sum(row[migration.WRITES.at("payload")] is not None for row in rows))
            after = rows[-1][0]
        exporter.close()
        assert (max(sizes), sum(sizes)) == (3, 12)
        kedge.migrate_store(a, b)
        assert kedge.compare_stores(a, b).same
    with kedge.open(b) as k:
        assert k.view().context.count() == 9
        assert k.fsck(full=True).findings == ()


@pytest.mark.only("postgres", reason="SQLite inserts row by row")
def test_a_large_batch_is_several_statements_and_one_transaction(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    from kedge.backends.postgres import batch_insert  # noqa: PLC0415 - its driver is an extra

    values = {f"{n}": f"{n}" * 100 for n in range(9)}
    with k.turn(agent="clerk") as turn:
        turn.context.put_many(dict.fromkeys(values, 0))
        with lowered(250), statements(k) as sent:
            seqs = turn.context.put_many(values)
        assert (len(seqs), sum("INSERT INTO kedge.writes" in sql for sql in sent)) == (9, 5)
        assert turn.context.items() == values
        columns, calls = batch_insert._columns, []

        def failing(*given: Any) -> Any:
            calls.append(given)
            if len(calls) == 3:
                raise MemoryError
            return columns(*given)

        monkeypatch.setattr(batch_insert, "_columns", failing)
        with lowered(250), pytest.raises(MemoryError):
            turn.context.put_many(dict.fromkeys(values, "y" * 100))
        assert turn.context.items() == values
    assert k.fsck(full=True).findings == ()


@pytest.mark.only("sqlite", reason="group commit")
def test_a_large_value_commits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_SHARED_VALUE_BYTES", 10)
    shares = [
        journal._is_short(
            Batch(1, Author("u"), tuple(Pending(Key("context", "", "a"), payload) for payload in payloads))
        )
        for payloads in ([b"x" * 10], [b"x" * 11], [b"x" * 6] * 2, [None, b"x"])
    ]
    assert shares == [True, False, False, True]


def test_plans_and_verifications_read_no_values(k: Kedge) -> None:
    first = 0
    for number in (2, 3):
        k.deploy(f"v{number}", {"late/prompt": str(number)})
        k.promote(f"v{number}")
        with k.turn(agent="late") as turn:
            (first, _) = turn.context.put_many({"a": number, "b": number})
    pairs = scope_of(k.view()).backend.impact.head_pairs
    with statements(k) as planned:
        plan = k.plan("v3")
    assert plan.keys_examined == 3
    view = scope_of(k.view()).read(lambda now: now)
    ((fact, _), (pin, _)) = pairs(view, view, [Key("context", "", "a"), Key("artifacts", "", "late/prompt")])
    assert fact is not None
    assert pin is not None
    assert (fact.payload, pin.payload is None) == (None, False)
    with statements(k) as verified:
        assert k.rollback("v3", reason="a test", wait=0).ok
    for sql in (*planned, *verified):
        assert not ("FROM writes w JOIN lineages" in sql and "w.payload" in sql), sql
    past = scope_of(k.at(first)).read(lambda now: now)
    found = scope_of(k.view()).backend.journal.range(past, "context", "", payloads=False).heads
    assert [head.payload for head in found] == [None, None]


def test_it_is_awaited(place: str) -> None:
    async def go() -> None:
        async with await kedge.aio.open(place, durability="normal") as k, k.turn(agent="clerk") as turn:
            await turn.context.put("a", LARGE["bytes"])
            assert await turn.context.get("a") == LARGE["bytes"]

    asyncio.run(go())


def test_the_digest_of_a_large_value_is_that_of_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "VALUE_BYTES_MAX", 10)
    for length in (10, 11, 1_000):
        payload, vector, salt = b"x" * length, b"\1\2\3\4", b"s" * 16
        framed = length.to_bytes(8, "big") + payload + vector
        assert digest(salt, payload, vector) == hmac.digest(salt, framed, "sha256")


def test_one_line_looks_at_the_beginning() -> None:
    assert one_line("a" * 100, 10) == "aaaaaaaaa…"
    assert one_line("a" + " " * 1_000 + "b", 10) == "a…"
    assert one_line("a   b", 10) == "a b"


@pytest.mark.soak
def test_256_mib(k: Kedge) -> None:
    value = bytes(range(256)) * (1 << 20)
    text = "x" * ((256 << 20) - 2)
    with k.turn("s", "clerk") as turn:
        turn.context.put("warm", 1)
        for each in (value, text):
            turn.context.put("a", each)
            assert turn.context.get("a") == each
        turn.documents("kb").put_many({"a": value, "b": value, "c": value, "d": text, "e": text})
        assert turn.documents("kb").get("c") == value
    with k.turn("s", "clerk") as turn, pytest.raises(kedge.InvalidValue, match="268,435,456"):
        turn.context.put("a", value + b"x")
    assert k.fsck(full=True).findings == ()
