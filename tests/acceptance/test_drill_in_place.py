"""The rehearsal in place: unseen, complete, and gone afterwards, whatever happens."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kedge
from kedge.backends.sqlite.cache import SqliteCache
from kedge.backends.sqlite.journal import SqliteJournal
from kedge.cli.main import main
from kedge.drill import InPlaceReport, in_place, inventory, rehearse_in_place, to_document
from kedge.drill.inventory import Inventory, PastSample
from kedge.model.stores import STORES
from kedge.model.visibility import View
from kedge.model.writes import Key
from kedge.turns.scope import scope_of
from tests.acceptance.cli import make_world


@pytest.fixture
def db(tmp_path: Path) -> str:
    make_world(tmp_path / "db")
    return str(tmp_path / "db")


def heads_at(view: kedge.ReadView) -> dict[Key, int]:
    """Return the seq of every head that a view lets through."""
    journal = scope_of(view).backend.journal
    found: dict[Key, int] = {}

    def look(seen: View) -> None:
        for store in STORES:
            for space in journal.spaces(store):
                found.update({head.key: head.seq for head in journal.range(seen, store, space).heads})

    scope_of(view).read(look)
    return found


def heads(db: str) -> dict[Key, int]:
    """Return the seq of every head that a new session sees."""
    with kedge.open(db) as k:
        return heads_at(k.view())


def failed(report: InPlaceReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def left_over(db: str) -> list[kedge.Status]:
    with kedge.open(db) as k:
        assert k.fsck(full=True).ok
        assert not [s.name for s in k.snapshots() if "drill" in s.name]
        return [d.status for d in k.deployments() if d.name.startswith("drill-")]


def test_every_store_and_collection_is_rehearsed_and_nothing_is_left(db: str) -> None:
    before = heads(db)
    report = rehearse_in_place(kedge.open, db)
    assert failed(report) == set()
    assert report.passed
    assert {(store.store, store.space) for store in report.stores if store.store != "memory"} == {
        ("artifacts", ""), ("context", ""), ("documents", "kb"), ("vectors", "kb"), ("cache", ""),
    }  # fmt: skip
    assert any(store.store == "memory" for store in report.stores)
    assert report.reads_by_live_readers > 0
    assert left_over(db) == [kedge.Status.PURGED]
    assert heads(db) == before


def test_its_document_has_its_shape(db: str) -> None:
    document = to_document(rehearse_in_place(kedge.open, db))
    assert set(document) == {
        "scenario", "shape", "passed", "url", "deployment", "stores", "reads_by_live_readers", "keys_compared",
        "rollback_commit_seconds", "rollback_completion_seconds", "erased_writes", "seconds", "checks",
    }  # fmt: skip
    assert document["scenario"] == "in-place"


def test_an_empty_database_can_be_rehearsed_on(tmp_path: Path) -> None:
    report = rehearse_in_place(kedge.open, str(tmp_path / "new"))
    assert failed(report) == set()
    assert [store.store for store in report.stores] == ["artifacts", "context", "documents", "memory", "cache"]


@pytest.fixture
def traffic(db: str) -> Iterator[None]:
    """Write all the while, at old keys and new ones."""
    stop = threading.Event()
    errors: list[kedge.KedgeError] = []

    def work() -> None:
        try:
            with kedge.open(db) as k:
                number = 0
                while not stop.wait(0.002):
                    number += 1
                    with k.turn(session=f"busy-{number % 3}", agent="clerk") as turn:
                        turn.memory.append("user", f"message {number}")
                        turn.context.put(f"busy/{number % 5}", number)
                        turn.context.delete(f"busy/{(number + 1) % 5}")
                        turn.vectors("kb").upsert([f"busy-{number % 7}"], [[1, 2, 3, number]])
        except kedge.KedgeError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not errors


@pytest.mark.usefixtures("traffic")
def test_real_traffic_meanwhile_is_told_from_damage(db: str) -> None:
    for _ in range(3):
        assert failed(rehearse_in_place(kedge.open, db)) == set()


@pytest.mark.parametrize("stage", ["is staged", "rolled back", "reinstated", "purged"])
def test_stopped_by_the_user_at_any_stage_it_leaves_nothing(db: str, stage: str) -> None:
    def say(what: str) -> None:
        if stage in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse_in_place(kedge.open, db, say=say)
    assert left_over(db) in ([], [kedge.Status.PURGED])


def test_an_error_on_the_way_is_in_the_report_and_leaves_nothing(db: str) -> None:
    def say(what: str) -> None:
        if what == "reinstated":
            raise kedge.SnapshotInTheWay("somebody took a snapshot")

    report = rehearse_in_place(kedge.open, db, say=say)
    assert "finished" in failed(report)
    assert not report.passed
    assert left_over(db) == [kedge.Status.PURGED]


def test_a_busy_database_is_no_verdict_and_leaves_nothing(db: str) -> None:
    def say(what: str) -> None:
        if what == "reinstated":
            raise kedge.Busy("somebody holds the database")

    with pytest.raises(kedge.Busy):
        rehearse_in_place(kedge.open, db, say=say)
    assert left_over(db) == [kedge.Status.PURGED]


def test_what_a_killed_rehearsal_left_is_purged_by_a_later_one(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(db) as k:
        k.deploy("drill-0123456789ab", {"drill-0123456789ab/configuration": 1}, note="a rehearsal in place")
        k.deploy("drill-of-my-own", {"mine/configuration": 1}, note="not a rehearsal of Kedge's")
    assert rehearse_in_place(kedge.open, db).passed
    with kedge.open(db) as k:
        assert k.deployment("drill-0123456789ab").status is kedge.Status.STAGED  # it may still be running
    monkeypatch.setattr(in_place, "_CRASHED_AFTER_SECONDS", -1.0)
    assert rehearse_in_place(kedge.open, db).passed
    with kedge.open(db) as k:
        assert k.deployment("drill-0123456789ab").status is kedge.Status.PURGED
        assert k.deployment("drill-of-my-own").status is kedge.Status.STAGED


# ── sabotage ──


def see_everything_in(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the journal show writes of any lineage in one store, as a backend would that forgot to filter."""

    def blind(name: str, place: int) -> None:
        real = getattr(SqliteJournal, name)

        def reading(journal: SqliteJournal, view: View, *rest: Any, **options: Any) -> Any:
            here = {"history": "memory"}.get(name) or (rest[0].store if place < 0 else rest[0])
            seen = frozenset(range(1, 100)) if here == store else view.seen
            return real(journal, msgspec.structs.replace(view, seen=seen), *rest, **options)

        monkeypatch.setattr(SqliteJournal, name, reading)

    real_cached = SqliteCache.find

    def cached(cache: SqliteCache, view: View, *rest: Any) -> Any:
        return real_cached(cache, msgspec.structs.replace(view, seen=frozenset(range(1, 100))), *rest)

    if store == "cache":
        monkeypatch.setattr(SqliteCache, "find", cached)
        return
    for name, place in (("head", -1), ("heads", 0), ("range", 0), ("history", 0)):
        blind(name, place)


@pytest.mark.parametrize("store", ["artifacts", "cache", "context", "documents", "memory", "vectors"])
def test_a_store_that_forgets_to_filter_is_named(db: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see_everything_in(store, monkeypatch)
    report = rehearse_in_place(kedge.open, db)
    assert not report.passed
    assert {found.store for found in report.stores if not found.reversible} == {store}
    assert "unseen" in failed(report)


def test_writes_are_refused_where_turns_are_not_stamped(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = heads(db)
    monkeypatch.setattr(kedge.Turn, "lineage", property(lambda _: frozenset()))
    report = rehearse_in_place(kedge.open, db)
    assert "finished" in failed(report)
    assert heads(db) == before


def test_the_command_ends_with_one_and_names_the_store(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see_everything_in("context", monkeypatch)
    assert main(["drill", "--in-place", "--db", db, "--json"]) == 1


# ── its look over everything ──


def test_an_inventory_finds_what_came_what_went_and_what_changed(db: str) -> None:
    with kedge.open(db) as k:
        k.snapshot("then")
        before, then = Inventory(k.view()), k.at("then")
        assert list(before.changes(k.view(), then)) == []
        with k.turn(agent="clerk") as turn:
            turn.context.put("case/1", "changed")
            turn.context.delete("case/2")
            turn.context.put("new", 1)
            turn.documents("another").put("doc", "in a new collection")
        changed = sorted((key.store, key.name) for key in before.changes(k.view(), then))
        assert changed == [("context", "case/1"), ("context", "case/2"), ("context", "new"), ("documents", "doc")]
        assert before.count == len(heads_at(then))


def test_a_sample_of_the_past_notices_a_past_that_moves(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(db) as k:
        k.snapshot("then")
        sample = PastSample(k.view(), k.at("then"), Inventory(k.view()).count)
        monkeypatch.setattr(inventory, "PAST_KEYS_MAX", 3)
        small = PastSample(k.view(), k.at("then"), Inventory(k.view()).count)
        assert 0 < small.count <= 3 < sample.count
        with k.turn(agent="clerk") as turn:
            turn.context.put("case/1", "changed")
        assert sample.is_same(k.at("then"))
        assert not sample.is_same(k.view())


def test_the_verdict_is_in_the_log(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = rehearse_in_place(kedge.open, db)
    monkeypatch.setattr(PastSample, "is_same", lambda *_: False)
    failed = rehearse_in_place(kedge.open, db)
    with kedge.open(db) as k:
        steps = [entry for entry in k.log(200) if entry.kind.startswith("drill:")]
    assert [(step.kind, step.deployment) for step in steps] == [
        ("drill:failed", failed.deployment),
        ("drill:passed", passed.deployment),
    ]
    assert steps[0].detail["failed"] == ["past_stable"]
    assert steps[1].detail["rollback_completion_seconds"] == passed.rollback_completion_seconds
