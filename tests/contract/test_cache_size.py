"""Size of the cache: kept beside the entries by triggers, so that a put does not read the others."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import pytest

import kedge
from kedge.backends.sqlite.database import Database
from tests.databases import raw_rows, run

CAP = 50_000
FEW, MANY = 20, 400


def compute(k: kedge.Kedge, names: list[str], *, ttl: float | None = None, size: int = 100) -> None:
    with k.turn(agent="support") as turn:
        for name in names:
            turn.cache.get_or_compute(name, lambda: "x" * size, ttl=ttl)


def sizes(place: str) -> tuple[int, int]:
    ((counted, found),) = raw_rows(place, "SELECT bytes, (SELECT coalesce(sum(bytes), 0) FROM cache) FROM cache_size")
    return int(counted), int(found)


def work_of(place: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many instructions SQLite executes, or rows of the cache PostgreSQL reads, for these puts."""
    if place.startswith("sqlite"):
        steps = []
        connect = Database._connect

        def counted(database: Database) -> sqlite3.Connection:
            connection = connect(database)
            connection.set_progress_handler(lambda: steps.append(1), 10)
            return connection

        with monkeypatch.context() as patched:
            patched.setattr(Database, "_connect", counted)
            with kedge.open(place, durability="normal") as k:
                steps.clear()
                compute(k, names)
                return len(steps)
    reads = (
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = 'kedge' AND relname = 'cache'"
    )
    before = int(raw_rows(place, reads)[0][0])
    with kedge.open(place, durability="normal") as k:
        compute(k, names)
    return int(raw_rows(place, reads)[0][0]) - before  # a session reports its counts as it ends


def test_a_put_into_a_large_cache_reads_no_more_than_into_a_small_one(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kedge.open(place, durability="normal") as k:
        compute(k, [f"few-{n}" for n in range(FEW)])
    small = work_of(place, [f"a-{n}" for n in range(10)], monkeypatch)
    with kedge.open(place, durability="normal") as k:
        compute(k, [f"many-{n}" for n in range(MANY)], ttl=1_000.0)
    large = work_of(place, [f"b-{n}" for n in range(10)], monkeypatch)
    assert large <= 1.5 * small + 100, (small, large)


def test_the_size_is_kept_through_overwrites_evictions_expiry_and_purges(place: str, clock: Any) -> None:
    with kedge.open(place, durability="normal", clock=clock, cache_bytes=CAP) as k:
        compute(k, ["a", "b"], ttl=10.0)
        compute(k, ["c"])
        clock.time += 11.0
        compute(k, ["a"], size=3_000)  # in place of an expired entry
        assert sizes(place)[0] == sizes(place)[1] > 3_000
        compute(k, [f"k-{n}" for n in range(30)], size=3_000)
        counted, found = sizes(place)
        assert counted == found <= CAP
        k.deploy("v2", {"support/prompt": "worse"})
        k.promote("v2")
        compute(k, ["of v2"], size=2_000)
        k.rollback("v2")
        k.purge("v2", confirm="v2")
        assert sizes(place)[0] == sizes(place)[1]
        assert k.fsck(full=True).findings == ()


def test_many_expired_entries_go_before_one_that_is_not(place: str, clock: Any) -> None:
    with kedge.open(place, durability="normal", clock=clock, cache_bytes=CAP) as k:
        compute(k, ["keep"], size=2_000)
        clock.time += 1.0
        compute(k, [f"k-{n}" for n in range(250)], ttl=5.0)
        clock.time += 10.0
        compute(k, ["large"], size=45_000)
        with k.turn(agent="support") as turn:
            assert turn.cache.get_or_compute("keep", lambda: "gone") == "x" * 2_000


def test_writers_at_once_keep_the_size(place: str) -> None:
    with kedge.open(place, durability="normal", cache_bytes=CAP) as k:
        threads = [
            threading.Thread(target=compute, args=(k, [f"{number}-{n}" for n in range(30)]), kwargs={"size": 1_500})
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counted, found = sizes(place)
    assert counted == found <= CAP
    assert found > CAP // 2


def test_fsck_reports_a_size_that_is_counted_wrong_and_a_put_ends(place: str) -> None:
    with kedge.open(place, durability="normal", cache_bytes=CAP) as k:
        compute(k, ["a"])
        run(place, f"UPDATE {'' if place.startswith('sqlite') else 'kedge.'}cache_size SET bytes = {2 * CAP}")
        assert [(finding.kind, finding.where) for finding in k.fsck(full=True).findings] == [("cache", "size")]
        compute(k, ["b"])
