"""SQLite in the contract suites, and its own laws: schema, concurrent opening, files that are not databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import kedge
from kedge.backends.sqlite.backend import SqliteBackend
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.schema import migrations
from kedge.ports.clock import SystemClock
from kedge.testing import contracts
from kedge.testing.contracts.cache import CACHE_BYTES


@pytest.fixture
def opener(tmp_path: Path) -> contracts.Opener:
    path = tmp_path / "kedge.db"
    return lambda: SqliteBackend(path, SystemClock(), durability="normal", cache_bytes=CACHE_BYTES)


@pytest.fixture
def backend(opener: contracts.Opener) -> Iterator[SqliteBackend]:
    opened = opener()
    assert isinstance(opened, SqliteBackend)
    yield opened
    opened.close()


class TestControl(contracts.ControlContract):
    pass


class TestSessions(contracts.SessionContract):
    pass


class TestJournal(contracts.JournalContract):
    pass


class TestHistories(contracts.HistoryContract):
    pass


class TestVectors(contracts.VectorContract):
    pass


class TestCompaction(contracts.CompactionContract):
    pass


class TestCoverage(contracts.CoverageContract):
    pass


class TestErasure(contracts.ErasureContract):
    pass


class TestImpact(contracts.ImpactContract):
    pass


class TestAttribution(contracts.AttributionContract):
    pass


class TestProvenance(contracts.ProvenanceContract):
    pass


class TestReplayLog(contracts.ReplayLogContract):
    pass


class TestVerification(contracts.VerificationContract):
    pass


class TestMetrics(contracts.MetricsContract):
    pass


class TestCache(contracts.CacheContract):
    pass


class TestFleet(contracts.FleetContract):
    pass


# ── schema ──


def schema(path: Path) -> tuple[list[tuple[str, ...]], int, int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name"
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        return rows.fetchall(), version, application


def test_migrating_step_by_step_equals_a_fresh_schema(tmp_path: Path) -> None:
    Database(tmp_path / "fresh.db").close()
    whole = "\n".join(migrations())
    with closing(sqlite3.connect(tmp_path / "whole.db")) as connection:
        connection.executescript(whole)
        connection.execute(f"PRAGMA user_version = {len(migrations())}")
        connection.execute(f"PRAGMA application_id = {0x4B454447}")
        connection.commit()
    assert schema(tmp_path / "fresh.db") == schema(tmp_path / "whole.db")


def test_migrating_an_empty_file_equals_a_fresh_schema(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    for name in ("empty.db", "fresh.db"):
        Database(tmp_path / name).close()
    assert schema(tmp_path / "empty.db") == schema(tmp_path / "fresh.db")


def test_a_database_of_before_the_fields_is_brought_up(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(migrations()[0])
        connection.execute("PRAGMA user_version = 1")
        connection.execute(f"PRAGMA application_id = {0x4B454447}")
        connection.execute("INSERT INTO meta VALUES ('database_id', 'old')")
        connection.execute("INSERT INTO meta VALUES ('header_key', x'00')")
        connection.execute("INSERT INTO collections VALUES ('kb', 3, 'cosine', 'shared/embedder', 1.0)")
        connection.commit()
    Database(tmp_path / "fresh.db").close()
    with kedge.open(f"sqlite:///{tmp_path}/old.db") as k:
        assert k.collections() == [kedge.Collection("kb", 3, "cosine", "shared/embedder", ())]
        assert k.collection("kb", dim=3, fields=["lang"]).fields == ("lang",)
    assert schema(tmp_path / "old.db") == schema(tmp_path / "fresh.db")


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    Database(tmp_path / "a.db").close()
    before = schema(tmp_path / "a.db")
    Database(tmp_path / "a.db").close()
    assert schema(tmp_path / "a.db") == before


OPEN = """
import sys, kedge
sys.stdin.readline()
with kedge.open(sys.argv[1]) as k:
    k.deploy(f"d{sys.argv[2]}", {"a/prompt": "x"})
"""


def test_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    for attempt in range(2):
        path = tmp_path / str(attempt)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", OPEN, str(path), str(n)],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(4)
        ]
        for process in processes:  # all have started by the time that the last is let go
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, told
        with kedge.open(path) as k:
            assert sorted(d.name for d in k.deployments()) == ["d0", "d1", "d2", "d3"]


def test_threads_open_a_new_database_at_once(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.db"
        errors: list[BaseException] = []
        start = threading.Barrier(6)

        def opened(path: Path = path, errors: list[BaseException] = errors, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                SqliteBackend(path, SystemClock(), cache_bytes=CACHE_BYTES).close()
            except BaseException as error:  # noqa: BLE001 - shown by the assertion
                errors.append(error)

        threads = [threading.Thread(target=opened) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []


def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    content = path.read_bytes()
    with pytest.raises(kedge.NotAKedgeDatabase, match=r"theirs\.db is a SQLite database of another program"):
        Database(path)
    assert path.read_bytes() == content


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    with pytest.raises(kedge.NotAKedgeDatabase, match=r"letter\.txt is not a database.*check the path"):
        kedge.open(path)
    assert path.read_text() == "Dear reader, " * 100


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    content = path.read_bytes()
    with pytest.raises(kedge.NewerSchema, match=r"schema 99, newer than this Kedge's \d+; upgrade Kedge"):
        Database(path)
    assert path.read_bytes() == content


def test_read_only_makes_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(kedge.UnknownName, match="there is no database at"):
        kedge.open(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
    with kedge.open(tmp_path) as k:
        k.deploy("v1", {"a/prompt": "x"})
    with kedge.open(tmp_path, read_only=True) as k:
        assert [d.name for d in k.deployments()] == ["v1"]
        with pytest.raises(kedge.ReadOnly, match="open read-only; open it without read_only to write"):
            k.promote("v1")
        with pytest.raises(kedge.ReadOnly), k.turn(session="s", agent="clerk") as turn:
            turn.context.get("a")
