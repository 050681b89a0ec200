"""fsck: a healthy database is clean, and each kind of damage is found and named."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import kedge
from kedge.model.fsck import inspection
from kedge.recovery import purge
from tests.populated import copy_of, populate, raw

Damage = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return populate(tmp_path_factory.mktemp("healthy")).parent


@pytest.fixture
def path(healthy: Path, tmp_path: Path) -> Path:
    return copy_of(healthy, tmp_path / "copy")


def fsck(path: Path, *, full: bool = True, read_only: bool = True) -> kedge.FsckReport:
    with kedge.open(f"sqlite:///{path}", read_only=read_only) as k:
        return k.fsck(full=full)


def seq_of(connection: sqlite3.Connection, store: str, name: str = "%", *, put: bool = True) -> int:
    """Return the first seq of a store's write to a key."""
    sql = """SELECT min(w.seq) FROM writes w JOIN spaces s ON s.id = w.space
             WHERE s.store = ? AND w.name LIKE ? AND w.deleted = ?"""
    return int(connection.execute(sql, (store, name, not put)).fetchone()[0])


def files_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Return time and content of every file that holds any, -shm left out: readers lock through it."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size and not path.name.endswith("-shm")
    }


# ── healthy ──


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_healthy_database_is_clean(path: Path, full: bool, read_only: bool) -> None:
    report = fsck(path, full=full, read_only=read_only)
    assert report.findings == ()
    assert report.ok
    assert report.full is full
    for what in ("writes", "digests", "keys", "counters", "vector rows", "segments", "sessions", "snapshots", "edges"):
        assert report.checked[what] > 0, what
    assert report.checked["writes"] + report.checked["control entries"] == report.checked["entries"]


def test_a_new_database_is_clean(k: kedge.Kedge) -> None:
    assert k.fsck(full=True).findings == ()


def test_a_sample_is_clean_and_smaller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SAMPLE_WINDOWS", 3)
    monkeypatch.setattr(inspection, "SAMPLE_WINDOW_SEQS", 4)
    sampled = fsck(path, full=False)
    assert sampled.findings == ()
    assert 0 < sampled.checked["writes"] <= 12
    assert fsck(path).checked["writes"] > 12


def test_progress_reaches_its_total(path: Path) -> None:
    told: list[tuple[int, int]] = []
    with kedge.open(f"sqlite:///{path}") as k:
        k.fsck(full=True, progress=lambda done, total: told.append((done, total)))
    assert told
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def test_it_writes_nothing(path: Path) -> None:
    with kedge.open(f"sqlite:///{path}", durability="normal") as k, k.turn(session="s1", agent="clerk") as turn:
        turn.context.put("in the wal", 1)
        before = files_of(path.parent)
        assert f"{path.name}-wal" in before
        assert k.fsck(full=True).ok
        assert files_of(path.parent) == before


def test_it_goes_on_while_others_write(path: Path) -> None:
    with kedge.open(f"sqlite:///{path}", durability="normal") as k, k.turn(session="s1", agent="clerk") as turn:

        def write(done: int, total: int) -> None:
            turn.context.put(f"meanwhile/{done}", total)

        assert k.fsck(full=True, progress=write).findings == ()
        assert k.fsck(full=True).findings == ()


# ── damage in the tables ──


def on(sql: str) -> Damage:
    return lambda connection: connection.execute(sql)


def write(change: str, store: str, name: str = "%", *, put: bool = True) -> Damage:
    sql = f"UPDATE writes SET {change} WHERE seq = ?"
    return lambda connection: connection.execute(sql, (seq_of(connection, store, name, put=put),))


TABLE_DAMAGE: dict[str, tuple[Damage, str, str]] = {
    "payload": (write("payload = x'6a31'", "context", "case/1"), "digest", "context:/case/1"),
    "payload type": (write("payload = 'j1'", "context", "case/1"), "digest", "context:/case/1"),
    "vector payload": (write("payload = x'6a31'", "vectors", "f"), "digest", "vectors:kb/f seq"),
    "delete": (write("salt = zeroblob(16)", "vectors", "d", put=False), "digest", "kb/d seq"),
    "digest": (write("digest = zeroblob(32)", "documents"), "digest", "documents:kb/doc"),
    "short digest": (write("digest = x'00'", "documents"), "digest", "documents:kb/doc"),
    "payload gone": (write("payload = NULL", "documents"), "digest", "documents:kb/doc"),
    "erased unpurged": (
        write("payload = NULL, salt = NULL", "documents"), "digest", "documents:kb/doc",
    ),
    "salt gone": (write("salt = NULL", "documents"), "digest", "documents:kb/doc"),
    "purged payload": (
        on("UPDATE writes SET payload = x'6a31', salt = zeroblob(16) WHERE salt IS NULL AND name = 'case/3'"),
        "purge", "context:/case/3 seq",
    ),
    "purged head": (
        on("INSERT INTO heads SELECT space, name, lineage, rank, seq, deleted, 1 FROM writes WHERE name = 'case/3'"),
        "head", "context:/case/3",
    ),
    "write gone": (on("DELETE FROM writes WHERE name = 'case/2'"), "journal", "seq"),
    "last write gone": (on("DELETE FROM control_log WHERE kind = 'purge:erased'"), "journal", "seq"),
    "seq twice": (
        on("UPDATE control_log SET seq = (SELECT min(seq) FROM writes) WHERE epoch = 3 AND record IS NOT NULL"),
        "journal", "of a write and of a control entry",
    ),
    "time back": (write("at = at - 3600", "context", "case/2"), "journal", "before"),
    "time forth": (write("at = at + 3600", "context", "case/2"), "journal", "before"),
    "lineage unknown": (write("lineage = 99", "context", "case/2"), "write", "context:/case/2"),
    "source with lineage": (write("lineage = 1", "documents"), "write", "documents:kb/doc"),
    "provenance unknown": (write("provenance = 99", "documents"), "write", "documents:kb/doc"),
    "provenance strange": (write("provenance = 0", "context", "case/2"), "write", "case/2"),
    "turn unknown": (write("turn = 99", "context", "case/2"), "write", "context:/case/2"),
    "space unknown": (write("space = 99", "context", "case/2"), "write", "#99"),
    "rank above seq": (write("rank = seq + 1", "context", "case/2"), "write", "context:/case/2"),
    "deleted strange": (write("deleted = 2", "context", "case/2"), "write", "case/2"),
    "store unknown": (on("UPDATE spaces SET store = 'stuff' WHERE store = 'documents'"), "write", "stuff:kb/doc"),
    "lineage order": (on("UPDATE lineages SET members = '[3, 2]' WHERE members = '[2, 3]'"), "lineage", "lineage "),
    "lineage members": (on("DELETE FROM lineage_members WHERE number = 2"), "lineage", "lineage "),
    "lineage strange": (on("UPDATE lineages SET members = '[77]' WHERE members = '[2]'"), "lineage", "[77]"),
    "lineage text": (on("UPDATE lineages SET members = 'x' WHERE members = '[2]'"), "lineage", "cannot be read"),
    "lineage orphan": (on("INSERT INTO lineage_members VALUES (2, 88)"), "lineage", "lineage 88"),
    "lineage zero": (on("UPDATE lineages SET members = '[1, 2, 3]' WHERE id = 0"), "lineage", "lineage 0"),
    "head missing": (on("DELETE FROM heads WHERE name = 'case/1'"), "head", "context:/case/1 seq"),
    "head old": (on("UPDATE heads SET seq = seq - 1, rank = rank - 1 WHERE name = 'case/2'"), "head", "/case/2"),
    "head deleted": (on("UPDATE heads SET deleted = 1 WHERE name = 'doc'"), "head", "documents:kb/doc"),
    "head state": (on("UPDATE heads SET state = (SELECT max(id) FROM states) WHERE name = 'doc'"), "head", "kb/doc"),
    "head state unknown": (on("UPDATE heads SET state = 99 WHERE name = 'doc'"), "head", "documents:kb/doc"),
    "head extra": (on("INSERT INTO heads SELECT space, 'ghost', 0, 1, 1, 0, 1 FROM heads LIMIT 1"), "head", "ghost"),
    "counter": (on("UPDATE counters SET puts = puts + 1 WHERE deletes = 1"), "counter", "lineage"),
    "counter missing": (on("DELETE FROM counters WHERE deletes = 1"), "counter", "lineage"),
    "control epoch": (on("UPDATE control SET epoch = epoch + 1"), "control", "newest"),
    "control record": (
        on("UPDATE control SET record = (SELECT record FROM control_log WHERE epoch = 0)"), "control", "newest",
    ),
    "control gone": (on("DELETE FROM control"), "control", "found 0"),
    "log epoch": (on("UPDATE control_log SET epoch = 99 WHERE epoch = 2 AND record > ''"), "control", "epoch 99"),
    "log record": (on("UPDATE control_log SET record = '{' WHERE epoch=2 AND record>''"), "control", "the record"),
    "log detail": (on("UPDATE control_log SET detail = '[' WHERE epoch = 2"), "control", "detail"),
    "log twice": (on("UPDATE control_log SET operation = 'same' WHERE record IS NOT NULL"), "control", "second time"),
    "deployment gone": (on("DELETE FROM deployments WHERE number = 2"), "deployment", "[2]"),
    "deployment name": (on("UPDATE deployments SET name = 'xyz' WHERE number = 2"), "deployment", "'xyz'"),
    "manifest": (on("UPDATE deployments SET manifest = '{}' WHERE number = 2"), "deployment", "'v2'"),
    "manifest text": (on("UPDATE deployments SET manifest = 'x' WHERE number = 2"), "deployment", "cannot be read"),
    "snapshot": (on("UPDATE snapshots SET seq = 9999 WHERE name = 'now'"), "snapshot", "'now'"),
    "snapshot epoch": (on("UPDATE snapshots SET epoch = 1 WHERE name = 'now'"), "snapshot", "'now'"),
    "session base": (on("UPDATE sessions SET base = '[55]' WHERE session = 's2'"), "session", "'s2'"),
    "session generation": (on("UPDATE sessions SET generation = 5 WHERE session = 's2'"), "session", "'s2'"),
    "session seq": (on("UPDATE sessions SET seq = 1 WHERE session = 's2'"), "session", "'s2'"),
    "session gone": (on("DELETE FROM sessions WHERE session = 's2'"), "session", "no row"),
    "turn lineage": (on("UPDATE turns SET lineage = 99 WHERE session = 's2'"), "turn", "lineage 99"),
    "turn seen": (on("UPDATE turns SET seen = 99 WHERE session = 's2'"), "turn", "set 99"),
    "seen set": (on("UPDATE seen_sets SET members = '[2, 1]' WHERE id = 1"), "turn", "seen set 1"),
    "seen set of nobody": (on("UPDATE seen_sets SET members = '[99]' WHERE id = 1"), "turn", "seen set 1"),
    "reads": (on("UPDATE reads SET reads = 'x'"), "reads", "cannot be read"),
    "reads turn": (on("UPDATE reads SET turn = 99"), "reads", "turn is missing"),
    "edge": (on("UPDATE edges SET turn = 'x'"), "edge", "turn x"),
    "replayed": (on("UPDATE replayed SET seq = 1"), "replayed", "seq 1"),
    "idempotency": (on("UPDATE idempotency SET seq = 9999"), "idempotency", "'"),
    "observation": (on("UPDATE observations SET lineage = 99"), "observation", "resolved"),
    "cache": (on("UPDATE cache SET bytes = bytes + 1"), "cache", "size"),
    "meta": (on("DELETE FROM meta WHERE name = 'header_key'"), "meta", "header_key"),
    "vector row gone": (on("DELETE FROM vector_rows WHERE name = 'f'"), "vector", "vectors:kb/f seq"),
    "vector row moved": (
        on("UPDATE vector_rows SET row = 100 - row WHERE segment = 1 AND row IN (1, 2)"),
        "segment", "rows were committed",
    ),
    "vector rows swapped": (
        on("UPDATE vector_rows SET seq = 11 - seq + 13, name = char(unicode('b') + unicode('c') - unicode(name)) "
           "WHERE segment = 1 AND name IN ('b', 'c')"), "vector", "vectors:kb/",
    ),
    "vector state": (on("UPDATE vector_rows SET state = 1 WHERE name = 'a'"), "state", "vectors:kb/a seq"),
    "vector state unknown": (on("UPDATE vector_rows SET state = 99 WHERE name = 'f'"), "state", "vectors:kb/f seq"),
    "states": (on("UPDATE states SET superseders = '[0, 1]' WHERE superseders = '[0]'"), "state", "minimal"),
    "state lineage": (on("UPDATE states SET lineage = 99 WHERE id = 1"), "state", "state 1"),
    "supersede gone": (on("DELETE FROM supersedes"), "supersedes", "vectors:kb/"),
    "supersede late": (on("UPDATE supersedes SET seq = seq + 1"), "supersedes", "vectors:kb/"),
    "supersede early": (on("UPDATE supersedes SET seq = seq - 1"), "supersedes", "vectors:kb/"),
    "segment rows": (on("UPDATE segments SET rows = rows - 1 WHERE id = 1"), "segment", "1.f32"),
    "segment unknown": (on("UPDATE segments SET id = 77 WHERE id = 1"), "segment", "segment 1"),
    "segment collection": (on("DELETE FROM collections"), "segment", "never declared"),
    "trigger gone": (on("CREATE TRIGGER extra BEFORE DELETE ON turns BEGIN SELECT 1; END"), "schema", "extra"),
    "index gone": (on("DROP INDEX turns_by_lineage"), "schema", "turns_by_lineage"),
    "table altered": (on("ALTER TABLE turns ADD COLUMN more TEXT"), "schema", "turns"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE_DAMAGE)
def test_damage_in_a_table_is_found_and_named(path: Path, name: str) -> None:
    damage, kind, words = TABLE_DAMAGE[name]
    with raw(path) as connection:
        before = connection.total_changes
        damage(connection)
        assert connection.total_changes > before or kind == "schema", "nothing was damaged"
    report = fsck(path)
    assert not report.ok
    assert any(f.kind == kind and words in f"{f.where}: {f.message}" for f in report.findings), report.findings


@pytest.mark.parametrize(
    "name",
    ["payload", "vector payload", "head missing", "head old", "vector state", "supersede gone", "supersede late"],
)
def test_a_sample_finds_damage_where_it_looks(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    damage, kind, words = TABLE_DAMAGE[name]
    with raw(path) as connection:
        damage(connection)
        last = connection.execute("SELECT max(seq) FROM control_log").fetchone()[0]
    monkeypatch.setattr(inspection, "SAMPLE_WINDOWS", 2)  # all of it but the middle, so that it is a sample in name
    monkeypatch.setattr(inspection, "SAMPLE_WINDOW_SEQS", (last - 1) // 2)
    report = fsck(path, full=False)
    assert "counters" not in report.checked
    assert any(f.kind == kind and words in f"{f.where}: {f.message}" for f in report.findings), report.findings


def test_missing_triggers_are_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER writes_are_kept")
    assert [(f.kind, f.where) for f in fsck(path, full=False).findings] == [("schema", "trigger writes_are_kept")]


def test_many_findings_of_one_kind_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_FINDINGS_MAX", 3)
    with raw(path) as connection:
        changed = connection.execute("UPDATE writes SET digest = zeroblob(32) WHERE salt IS NOT NULL").rowcount
    found = [f.message for f in fsck(path).findings if f.kind == "digest"]
    assert len(found) == 4
    assert found[-1] == f"{changed - 3} more of this kind"


def test_an_unfinished_purge_is_no_damage(path: Path) -> None:
    with raw(path) as connection:
        assert connection.execute("UPDATE control_log SET kind = 'note' WHERE kind = 'purge:erased'").rowcount == 1
        connection.execute(
            "INSERT INTO unfinished (operation, kind, seq, wanted) "
            "SELECT operation, kind, seq, '{}' FROM control_log WHERE kind = 'purge'"
        )
    assert fsck(path).findings == ()
    with kedge.open(f"sqlite:///{path}") as k:
        assert len(k.recover()) == 1
        assert k.fsck(full=True).findings == ()


# ── damage in the files ──


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x01]))


@pytest.mark.parametrize("full", [True, False])
def test_a_flipped_byte_in_the_database_names_the_row(path: Path, full: bool) -> None:
    content = path.read_bytes()
    assert content.count(b"first answer") == 1
    flip(path, content.index(b"first answer"))
    (found,) = fsck(path, full=full).findings
    assert found.kind == "digest"
    assert found.where.startswith("memory:s1/")
    assert " seq " in found.where


def test_a_flipped_byte_in_a_segment_names_the_row(path: Path) -> None:
    width = 16
    flip(path.parent / "kedge.db-vectors" / "1.f32", 2 * width + 5)
    (found,) = fsck(path).findings
    assert (found.kind, found.where[: len("vectors:kb/c seq ")]) == ("digest", "vectors:kb/c seq ")


def test_a_flipped_name_is_found(path: Path) -> None:
    content = path.read_bytes()
    flip(path, content.index(b"case/2"))
    assert not fsck(path).ok


def test_a_vector_left_behind_by_a_purge_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "_reclaim", lambda *_: None)
    path = populate(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        segment, row = connection.execute("SELECT segment, row FROM vector_rows WHERE name = 'y'").fetchone()
    flip(path.parent / "kedge.db-vectors" / f"{segment}.f32", row * 16)
    (found,) = fsck(path).findings
    assert (found.kind, found.where[: len("vectors:kb/y seq ")]) == ("purge", "vectors:kb/y seq ")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_truncated_segment_names_file_and_row(path: Path, read_only: bool) -> None:
    segment = path.parent / "kedge.db-vectors" / "1.f32"
    os.truncate(segment, 2 * 16 + 8)
    before = files_of(path.parent)
    (found,) = fsck(path, read_only=read_only).findings
    assert (found.kind, found.where) == ("segment", "segment 1.f32 of 'kb'")
    assert "the first of them c seq" in found.message
    assert files_of(path.parent) == before


def test_a_missing_segment_is_named(path: Path) -> None:
    segment = path.parent / "kedge.db-vectors" / "1.f32"
    segment.unlink()
    (found,) = fsck(path).findings
    assert (found.kind, found.where) == ("segment", "segment 1.f32 of 'kb'")
    assert "No such file" in found.message
    assert not segment.exists()


@pytest.fixture
def pages(path: Path) -> Iterator[tuple[Path, int]]:
    with closing(sqlite3.connect(path)) as connection:
        yield path, connection.execute("PRAGMA page_size").fetchone()[0]


@pytest.mark.parametrize("table", ["writes", "control_log", "heads", "lineages", "writes_by_key", "sessions"])
def test_an_overwritten_page_is_found_and_the_rest_is_checked(pages: tuple[Path, int], table: str) -> None:
    path, size = pages
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))
    report = fsck(path)
    assert {"sqlite", "unreadable"} & {f.kind for f in report.findings}
    assert len(report.checked) > 3


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_truncated_database_is_found(path: Path, keep: float) -> None:
    size = int(path.stat().st_size * keep)
    with kedge.open(f"sqlite:///{path}", read_only=True) as k:
        os.truncate(path, size)
        assert not k.fsck(full=True).ok
    with pytest.raises(kedge.Corruption, match=r"is damaged .* `kedge fsck`"):
        kedge.open(f"sqlite:///{path}")
    assert path.stat().st_size == size
