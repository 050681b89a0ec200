"""Migration to another backend: equal data, no acknowledged write lost, the source closed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite.migration import SqliteExporter
from kedge.migration import migrate
from kedge.model.migration import TABLES, WRITES
from kedge.support import failpoints
from kedge.testing import postgres
from tests import databases, populated
from tests.concurrency import pause_at
from tests.stateful.share import SOAKING


class Places(Protocol):
    """Makes places for databases, on the backend that is asked for; `full` ones are populated."""

    def __call__(self, backend: str, *, full: bool = False) -> str: ...


ACROSS = [("sqlite", "postgres"), ("postgres", "sqlite")]
WITHIN = [("sqlite", "sqlite"), ("postgres", "postgres")]
DIRECTIONS = [*ACROSS, *(WITHIN if SOAKING else WITHIN[:1])]


@pytest.fixture
def place_on(tmp_path: Path, postgres_server: postgres.Server, full_places: dict[str, str]) -> Iterator[Places]:
    made: list[str] = []

    def make(backend: str, *, full_one: bool) -> str:
        if backend == "postgres":
            made.append(databases.create(postgres_server, like=full_places["postgres"] if full_one else None))
            return made[-1]
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        if full_one:
            populated.copy_of(Path(full_places["sqlite"]), folder)
        else:
            folder.mkdir()
        return f"sqlite:///{folder / 'kedge.db'}"

    def place(backend: str, *, full: bool = False) -> str:
        return make(backend, full_one=full)

    yield place
    failpoints.disarm()
    for url in made:
        databases.drop(postgres_server, url)


def findings(url: str) -> tuple[object, ...]:
    with kedge.open(url, read_only=True) as k:
        report = k.fsck(full=True)
        return (*report.findings, *report.notes)


def differing(a: str, b: str) -> list[kedge.Difference]:
    return [difference for difference in kedge.compare_stores(a, b).differences if difference.differs]


@pytest.mark.soak
@pytest.mark.parametrize(("a", "b"), DIRECTIONS)
def test_what_was_moved_is_the_same_and_goes_on(place_on: Places, a: str, b: str) -> None:
    source, target = place_on(a, full=True), place_on(b)
    with kedge.open(source) as k:
        with k.turn(session="s1", agent="support") as turn:
            seq = turn.documents("kb").put("twice", "a text", idempotency="once")
            turn.context.put("case/9", 9)
            headers = turn.headers()
        before = k.at("now", session="s2").context.entry("case/2"), k.status().sessions
    report = kedge.migrate_store(source, target)
    assert report is not None
    found = kedge.compare_stores(source, target)
    assert [d for d in found.differences if d.differs] == []
    assert (found.same, found.skipped, found.upto) == (True, (), report.last_seq)
    assert found.views >= 3
    assert findings(source) == findings(target) == ()
    with kedge.open(target) as k:
        with k.turn(agent="other", parent=headers) as callee:
            assert callee.context.get("case/9") == 9
            assert not [name for name in callee.lineage if name.startswith("external:")], "the header is still signed"
        assert (k.at("now", session="s2").context.entry("case/2"), k.status().sessions) == before
        with k.turn(session="s1", agent="support") as turn:
            assert turn.documents("kb").put("twice", "a text", idempotency="once") == seq
            turn.vectors("kb").upsert(["a", "new one"], populated.vectors(2, 9))
            assert turn.vectors("kb").search(populated.vectors(2, 9)[1], k=1)[0].id == "new one"
        k.deploy("later", {"support/prompt": "later"}, canary=1.0)
        assert k.rollback("x").ok
        assert k.seq > report.last_seq
    assert findings(target) == ()
    assert differing(source, target) == [], "what both had stays the same, though one has gone on"


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_a_source_that_was_moved_takes_no_writes_and_says_where_to(place_on: Places, backend: str) -> None:
    source, target = place_on(backend, full=True), place_on("sqlite")
    with kedge.open(source) as k, k.turn(session="s1", agent="support") as turn:
        member = k.join(lease_seconds=60.0)
        turn.context.get("case/2")
        assert kedge.migrate_store(source, target) is not None
        moved = f"was moved to {re.escape(target)}: open that"
        for act in (
            lambda: turn.context.put("late", 1),
            lambda: turn.context.get("case/2"),
            lambda: turn.observe("resolved", value=True),
            lambda: k.deploy("late", {"a/b": "c"}),
            lambda: k.snapshot("late"),
            lambda: k.collection("late", dim=3),
            lambda: k.turn(agent="support").context.get("case/2"),
            lambda: k.purge("v2", confirm="v2"),
        ):
            with pytest.raises(kedge.Moved, match=moved):
                act()
        del member
    with pytest.raises(kedge.Moved, match=moved):
        kedge.open(source)
    with kedge.open(source, read_only=True) as k:
        assert k.status().deployments, "it can still be looked at"
    for table in ("writes", "control", "turns", "meta", "members"):
        with pytest.raises(Exception, match="moved"):
            databases.raw_rows(source, f"DELETE FROM {table}")


@pytest.mark.parametrize(("a", "b"), ACROSS)
def test_a_source_that_goes_on_loses_nothing(place_on: Places, monkeypatch: pytest.MonkeyPatch, a: str, b: str) -> None:
    source, target = place_on(a), place_on(b)
    monkeypatch.setattr(migrate, "_FEW_WRITES", 3)
    acknowledged: dict[str, int] = {}
    under_way = threading.Barrier(3)
    with kedge.open(source) as k:
        k.collection("kb", dim=populated.DIM)

        def work(who: int) -> None:
            under_way.wait(30)
            for n in range(10_000):
                try:
                    with k.turn(session=f"s{who}-{n % 5}", agent="support") as turn:
                        seqs = turn.vectors("kb").upsert([f"{who}-{n}", "both"], populated.vectors(2, n))
                        turn.memory.append("user", f"{who} {n}")
                        acknowledged[f"{who}-{n}"] = seqs[0]
                except kedge.Moved:
                    return

        threads = [threading.Thread(target=work, args=(who,)) for who in range(2)]
        for thread in threads:
            thread.start()
        under_way.wait(30)
        while len(acknowledged) < 10:
            time.sleep(0.005)
        failpoints.arm("move:writes", lambda: _wait_for_more(acknowledged), nth=1)  # before it is closed
        report = kedge.migrate_store(source, target)
        for thread in threads:
            thread.join()
    assert report is not None
    assert len(acknowledged) > 12
    assert differing(source, target) == []
    assert findings(target) == ()
    with kedge.open(target) as k:
        rows = k.view().vectors("kb").get(list(acknowledged))
        assert {name: row.seq for name, row in rows.items()} == acknowledged


def _wait_for_more(acknowledged: dict[str, int]) -> None:
    before = len(acknowledged)
    while len(acknowledged) < before + 3:
        time.sleep(0.005)


def test_a_write_that_was_in_flight_when_later_ones_were_copied_comes_along(place_on: Places) -> None:
    source, target = place_on("postgres"), place_on("sqlite")

    def put(name: str) -> None:
        with kedge.open(source) as k, k.turn(agent="support") as turn:
            turn.context.put(name, name)

    put("before")
    drawn, released = pause_at("append:before-commit")
    early = threading.Thread(target=put, args=("early",))
    early.start()
    assert drawn.wait(30)
    put("late")  # with a greater seq, and committed first
    move = threading.Thread(target=kedge.migrate_store, args=(source, target))
    move.start()
    move.join(0.5)
    released.set()
    early.join()
    move.join()
    assert differing(source, target) == []
    with kedge.open(target) as k:
        assert sorted(entry.key for entry in k.view().context.entries("")) == ["before", "early", "late"]


def test_calls_whose_seqs_others_drew_between_keep_their_keys(place_on: Places) -> None:
    source, target, again = place_on("postgres"), place_on("sqlite"), place_on("postgres")
    texts = {"x": "one", "y": "two"}
    with (
        kedge.open(source) as k,
        k.turn(session="s", agent="clerk") as turn,
        k.turn(session="other", agent="clerk") as other,
    ):
        first = turn.documents("kb").put("x", "one")
        other.documents("kb").put("between", "another")
        last = turn.documents("kb").put("y", "two")
    databases.run(source, f"INSERT INTO idempotency (key, seqs, lineage) VALUES ('both', '{{{first},{last}}}', 0)")
    assert kedge.migrate_store(source, target) is not None
    assert differing(source, target) == []
    assert findings(target) == ()
    with kedge.open(target) as k, k.turn(session="s", agent="clerk") as turn:
        assert turn.documents("kb").put_many(texts, idempotency="both") == [first, last]
        with pytest.raises(kedge.IdempotencyMismatch):
            turn.documents("kb").put_many({**texts, "between": "another"}, idempotency="both")
    assert kedge.migrate_store(target, again) is not None
    with kedge.open(again) as k, k.turn(session="s", agent="clerk") as turn:
        assert turn.documents("kb").put_many(texts, idempotency="both") == [first, last]


@pytest.mark.parametrize(("a", "b"), ACROSS)
def test_what_is_purged_while_it_is_copied_is_gone_there_too(place_on: Places, a: str, b: str) -> None:
    source, target = place_on(a, full=True), place_on(b)
    said: list[str] = []

    def purge() -> None:
        with kedge.open(source) as k:
            k.purge("v2", confirm="v2")

    failpoints.arm("move:writes", purge, nth=1)
    assert kedge.migrate_store(source, target, say=said.append) is not None
    assert any("restarting" in told for told in said)
    assert differing(source, target) == []
    assert findings(target) == ()
    kept = databases.raw_rows(target, "SELECT count(*) FROM writes WHERE salt IS NULL")
    assert kept == databases.raw_rows(source, "SELECT count(*) FROM writes WHERE salt IS NULL")
    assert kept[0][0] > 5


@pytest.mark.parametrize("b", ["sqlite", "postgres"])
def test_what_compaction_has_taken_stays_gone(place_on: Places, b: str) -> None:
    source, target = place_on("sqlite"), place_on(b)
    ids, early = [f"v{n}" for n in range(40)], 0
    with kedge.open(source) as k:
        k.collection("kb", dim=8)
        for version in range(3):
            with k.turn(agent="loader") as turn:
                matrix = np.random.default_rng(version).standard_normal((40, 8)).astype(np.float32)
                turn.vectors("kb").upsert(ids, matrix)
            early = early or k.seq
        k.set_retention(0)
        assert k.optimize("kb")["kb"].reclaimed_rows == 80
        k.set_retention(None)
    assert kedge.migrate_store(source, target) is not None
    assert differing(source, target) == []
    assert findings(target) == ()
    with kedge.open(target) as k:
        assert k.view().vectors("kb").count() == 40
        with pytest.raises(kedge.PastUnreadable, match="reclaimed by a compaction"):
            k.at(early).vectors("kb").count()


def test_vectors_move_to_a_server_without_pgvector(
    place_on: Places, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kedge.backends.postgres import schema  # noqa: PLC0415 - not there where the server is not

    source, target = place_on("sqlite", full=True), databases.create(postgres_server, empty=True)
    monkeypatch.setattr(schema, "_EXTENSION", "CREATE EXTENSION no_such_thing")
    assert kedge.migrate_store(source, target) is not None
    assert differing(source, target) == []
    assert findings(target) == ()
    databases.drop(postgres_server, target)


def test_a_database_that_is_not_complete_cannot_be_opened(place_on: Places) -> None:
    source = place_on("sqlite", full=True)
    for target in (place_on("sqlite"), place_on("postgres")):

        def stop() -> None:
            raise KeyboardInterrupt

        failpoints.arm("move:table", stop, nth=3)
        with pytest.raises(KeyboardInterrupt):
            kedge.migrate_store(source, target)
        failpoints.disarm()
        for read_only in (False, True):
            with pytest.raises(kedge.Arriving, match=r"is not complete: a move from sqlite:.* is unfinished; run"):
                kedge.open(target, read_only=read_only)
        with pytest.raises(kedge.Moved):
            kedge.open(source)
        assert kedge.migrate_store(source, target, abandon=True) is None
        with kedge.open(source) as k, k.turn(agent="support") as turn:
            turn.context.put("goes on", 1)
            assert k.log(1)[0].kind == "move-abandoned"
        with pytest.raises(kedge.Conflict, match="holds an unfinished move of another database, or of another state"):
            kedge.migrate_store(source, target)
    assert findings(source) == ()
    target = place_on("postgres")
    assert kedge.migrate_store(source, target) is not None
    assert differing(source, target) == []
    with pytest.raises(kedge.IllegalTransition, match="is complete and may have been written to since"):
        kedge.migrate_store(source, target, abandon=True)


def test_a_target_that_lacks_a_write_is_not_opened(place_on: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = place_on("sqlite", full=True), place_on("sqlite")
    all_of_them = SqliteExporter.writes
    monkeypatch.setattr(
        SqliteExporter, "writes", lambda self, *asked: [w for w in all_of_them(self, *asked) if w[0] != 9]
    )
    with pytest.raises(kedge.Corruption, match=r"has 40 writes, .* 41; the target was not opened"):
        kedge.migrate_store(source, target)
    with pytest.raises(kedge.Arriving):
        kedge.open(target)


@contextmanager
def stopped_move(source: str, target: str, point: str, nth: int = 1) -> Iterator[list[kedge.KedgeError]]:
    """Have a move stand at a point, and go on at the end; yield what it will have been refused with."""
    stopped, released = pause_at(point, nth)
    refused: list[kedge.KedgeError] = []

    def move() -> None:
        try:
            kedge.migrate_store(source, target)
        except kedge.KedgeError as error:
            refused.append(error)

    thread = threading.Thread(target=move)
    thread.start()
    assert stopped.wait(30)
    yield refused
    released.set()
    thread.join()


@pytest.mark.parametrize("b", ["sqlite", "postgres"])
def test_of_two_that_move_it_at_once_one_gives_way(place_on: Places, b: str) -> None:
    source, target = place_on("sqlite", full=True), place_on(b)
    with stopped_move(source, target, "move:writes") as refused:
        assert kedge.migrate_store(source, target) is not None
    assert [type(error) for error in refused] == [kedge.Conflict]
    assert "another process is moving a database to" in str(refused[0])
    assert differing(source, target) == []
    assert findings(target) == ()


@pytest.mark.parametrize("b", ["sqlite", "postgres"])
def test_a_move_that_was_given_up_is_not_completed_by_who_is_still_at_it(place_on: Places, b: str) -> None:
    source, target = place_on("sqlite", full=True), place_on(b)
    last = len(TABLES)  # all is there then; the target would be opened next
    with stopped_move(source, target, "move:table", last) as refused:
        assert kedge.migrate_store(source, target, abandon=True) is None
    assert [type(error) for error in refused] == [kedge.Conflict]
    assert "was given up, and its source is in use again" in str(refused[0])
    with pytest.raises(kedge.Arriving, match=r"never will be: the move from sqlite:.* was given up; drop it"):
        kedge.open(target)
    with pytest.raises(kedge.Conflict):
        kedge.migrate_store(source, target)
    with kedge.open(source) as k, k.turn(agent="support") as turn:
        turn.context.put("goes on", 1)


def test_what_cannot_be_moved_is_refused(place_on: Places, postgres_server: postgres.Server, tmp_path: Path) -> None:
    source, other = place_on("sqlite", full=True), place_on("sqlite")
    with pytest.raises(kedge.UnknownName, match="there is no database at"):
        kedge.migrate_store(other, source)
    with pytest.raises(kedge.InvalidValue, match=r"cannot move .* to itself"):
        kedge.migrate_store(source, source)
    full = place_on("postgres")
    kedge.open(full).close()
    with pytest.raises(kedge.NotEmpty, match="is already a Kedge database; migrate to an empty place"):
        kedge.migrate_store(source, full)
    with pytest.raises(kedge.NotEmpty):
        kedge.migrate_store(full, source)
    with pytest.raises(kedge.UnknownName, match="this database does not exist"):
        kedge.migrate_store(source, postgres_server.url("nowhere"))
    (tmp_path / "strange.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(kedge.NotAKedgeDatabase):
        kedge.migrate_store(source, tmp_path / "strange.db")
    with kedge.open(source) as k, k.turn(agent="support") as turn:
        turn.context.put("still", "open")
    with pytest.raises(kedge.IllegalTransition, match="is not being moved; there is nothing to abandon"):
        kedge.migrate_store(source, other, abandon=True)


def test_a_newer_schema_at_either_end_is_refused(place_on: Places) -> None:
    source, target = place_on("sqlite", full=True), place_on("postgres")
    newer = place_on("postgres")
    databases.run(newer, "UPDATE schema_version SET version = 99")
    with pytest.raises(kedge.NewerSchema, match="has schema 99, newer than this Kedge's"):
        kedge.migrate_store(source, newer)
    databases.run(source, "PRAGMA user_version = 99")
    with pytest.raises(kedge.NewerSchema):
        kedge.migrate_store(source, target)


def test_a_purge_that_is_not_finished_comes_first(place_on: Places) -> None:
    source, target = place_on("sqlite", full=True), place_on("sqlite")

    def stop() -> None:
        raise KeyboardInterrupt

    with kedge.open(source) as k:
        failpoints.arm("erase:begun", stop)
        with pytest.raises(KeyboardInterrupt):
            k.purge("v2", confirm="v2")
        failpoints.disarm()
        with pytest.raises(kedge.IllegalTransition, match=r"a purge of .* is not finished; `kedge recover`"):
            kedge.migrate_store(source, target)
        k.recover()
    assert kedge.migrate_store(source, target) is not None
    assert differing(source, target) == []


def test_a_comparison_finds_what_differs(place_on: Places) -> None:
    source, target = place_on("sqlite", full=True), place_on("sqlite")
    assert kedge.migrate_store(source, target) is not None
    damages: dict[str, str] = {
        "writes": "UPDATE writes SET payload = NULL, salt = NULL WHERE seq = (SELECT max(seq) FROM writes)",
        "reads": "DELETE FROM reads WHERE before_seq = (SELECT max(before_seq) FROM reads)",
        "sessions": "UPDATE sessions SET base = '[]'",
        "snapshots": "UPDATE snapshots SET at = at + 1",
        "deployments": "UPDATE deployments SET note = 'other'",
        "identity": "UPDATE meta SET value = 'other' WHERE name = 'header_key'",
        "heads": "DELETE FROM heads WHERE name = 'doc'",
        "vectors": "UPDATE vector_rows SET state = 1",
    }
    for what, statement in damages.items():
        folder = Path(target.removeprefix("sqlite:///")).parent
        damaged = populated.copy_of(folder, folder.with_name(what))
        with populated.raw(damaged) as connection:
            connection.execute(statement)
            connection.commit()
        found = differing(source, f"sqlite:///{damaged}")
        assert [d.what for d in found if d.what.startswith(what)], (what, found)
        assert all(d.examples for d in found)


# What is moved otherwise than column by column, or made anew.
APART = {"meta", "control", "lanes", "schema_version", "lineage_members", "segments", "packings", "vector_rows"}
APART |= {"supersedes", "embeddings", "row_states", "state_counts", "cache_size", "unfinished"}
OWN = {("idempotency", "seq"), ("idempotency", "count"), ("counters", "lane")}  # another shape of the same
OWN |= {("states", "retired")}  # the target's states take rows: no process has collected one


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_every_column_of_the_schema_is_moved(place_on: Places, backend: str) -> None:
    place = place_on(backend, full=True)
    columns = {
        "sqlite": "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
        "postgres": "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'kedge' "
        "AND table_name NOT LIKE 'vectors%'",
    }[backend]
    there = {(table, column) for table, column in databases.raw_rows(place, columns) if table not in APART} - OWN
    moved = {(table.name, column) for table in (WRITES, *TABLES.values()) for column in table.names}
    with_the_vector = {
        ("writes", "embedding"),
        ("writes", "vector"),
        *(("rows", name) for name in TABLES["rows"].names),
    }
    assert there == moved - with_the_vector
