"""Compaction during writes, reads and rollbacks of other processes: every answer is right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import kedge
from kedge.recovery import purge
from tests.race.test_readers import beside
from tests.workers import DIM, KEYS, Worker, matrix

EXTRA = ["x0", "x1", "x2"]
VERSIONS = 150


def look(view: kedge.ReadView) -> tuple[int | None, set[str]]:
    """Search, count and get; fail where they show anything but one whole version. Return that, and the other ids."""
    kb = view.vectors("kb")
    hits = kb.search([1.0] * DIM, k=100)
    versions = {hit.payload["v"] for hit in hits if hit.id in KEYS}
    assert len(versions) <= 1, versions
    ids = {hit.id for hit in hits}
    assert ids & set(KEYS) in (set(), set(KEYS))
    for ident, row in kb.get(sorted(ids)).items():
        version = row.payload["v"]
        assert row.vector.tolist() == matrix([ident], version)[0].tolist()
    return versions.pop() if versions else None, ids - set(KEYS)


def test_searches_are_right_beside_overwrites_and_compactions(folder: Path) -> None:
    with kedge.open(folder, durability="normal") as k:
        k.deploy("d", {"loader/prompt": "x"}, canary=1.0)
        k.promote("d")
        with k.turn(agent="loader") as turn:
            turn.vectors("kb").upsert(EXTRA, matrix(EXTRA, 7), [{"v": 7}] * 3)
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(KEYS, matrix(KEYS, 1), [{"v": 1}] * len(KEYS))
        k.snapshot("start")
        k.set_retention(0)
        with Worker(folder, "writer") as writer, Worker(folder, "compactor") as compactor, Worker(folder, "flips") as f:
            writer.ask("overwrite", 2, VERSIONS)
            compactor.ask("compact", VERSIONS // 2)
            seen: list[int] = []

            def search() -> None:
                version, others = look(k.view())
                assert others in (set(), set(EXTRA))
                seen.append(version or 0)
                assert look(k.at("start")) == (1, set(EXTRA))

            with beside(search) as until:
                for _ in range(8):
                    f.do("flip", "d")
                reclaimed = compactor.result()
                writer.result()
                until(lambda: VERSIONS in seen or VERSIONS + 1 in seen)
            assert reclaimed > len(KEYS)
            assert len(set(seen)) > 3, "the searches saw few versions: they were not beside the writer"
        assert look(k.view())[0] == VERSIONS + 1
        assert k.fsck(full=True).findings == ()


def test_one_compactor_at_a_time_and_the_other_waits(folder: Path) -> None:
    with kedge.open(folder, durability="normal") as k:
        k.set_retention(0)
        with Worker(folder, "one") as one, Worker(folder, "other") as other:
            one.do("overwrite", 1, 4)
            one.do("dawdle", "compaction:copied", 0.3)
            one.ask("compact", 1)
            time.sleep(0.1)
            other.ask("compact", 1)
            assert sorted([one.result(), other.result()]) == [0, 3 * len(KEYS)]
        assert look(k.view()) == (4, set())


def test_what_is_appended_while_rows_are_copied_is_there(folder: Path) -> None:
    with kedge.open(folder, durability="normal") as k:
        k.set_retention(0)
        with Worker(folder, "one") as one, Worker(folder, "other") as other:
            one.do("overwrite", 1, 3)
            one.do("dawdle", "compaction:copied", 0.3)
            one.ask("compact", 1)
            time.sleep(0.1)
            other.do("overwrite", 6, 2)
            assert one.result() == 2 * len(KEYS), "what was superseded since then goes the next time"
            assert look(k.view()) == (7, set())
            assert one.do("compact", 1) == 2 * len(KEYS)
        assert look(k.view()) == (7, set())
        assert k.fsck(full=True).findings == ()


def test_a_purge_that_comes_in_between_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "_reclaim", lambda *_: None)  # which would copy the rows once more, without those
    with kedge.open(folder, durability="normal") as k:
        k.set_retention(0)
        k.deploy("d", {"loader/prompt": "x"}, canary=1.0)
        k.promote("d")
        with k.turn(agent="loader") as turn:
            turn.vectors("kb").upsert(EXTRA, matrix(EXTRA, 7), [{"v": 7}] * 3)
        with Worker(folder, "one") as one:
            one.do("overwrite", 1, 3)
            one.do("dawdle", "compaction:copied", 0.5)
            one.ask("compact", 1)
            time.sleep(0.2)
            k.rollback("d")
            k.purge("d", confirm="d")
            one.result()
        (file,) = (folder / "kedge.db-vectors").glob("*.f32")
        assert matrix(EXTRA, 7)[0].tobytes() not in file.read_bytes()
        assert k.fsck(full=True).findings == ()


def test_processes_that_search_by_index_follow_rows_that_were_moved(folder: Path) -> None:
    size, batches = 100, 6
    nothing = {"missed": 0, "missed by exact search": 0, "stale": 0, "hidden": 0, "exact": 0}
    with kedge.open(folder, durability="normal") as k:
        with Worker(folder, "keeper") as keeper, Worker(folder, "former") as former:
            for worker in (keeper, former):
                worker.do("low", behind=False)
            for batch in range(batches):
                keeper.do("grow", batch, size)
            keeper.do("optimize")
            assert former.do("find", batches - 1, size) == nothing
            k.set_retention(0)
            assert keeper.do("compact", 1) == (batches - 1) * size // 2
            for batch in range(batches, 2 * batches):
                keeper.do("grow", batch, size)
            with Worker(folder, "latter") as latter:
                latter.do("low", behind=False)
                for batch in range(2 * batches):
                    assert former.do("find", batch, size) == latter.do("find", batch, size) == nothing
        assert k.fsck(full=True).findings == ()
