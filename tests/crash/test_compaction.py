"""kill -9 during a compaction: the next process drops or finishes it, and fsck reports no damage."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import kedge
from tests.race.test_compaction import look
from tests.workers import DIM, KEYS, Worker

STAGED = ("compaction:copied", "compaction:synced", "compaction:begun", "compaction:before-commit")
SWAPPED = (
    "compaction:after-commit", "compaction:removed", "clear:before-commit", "clear:after-commit",
    "cleared:before-commit",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with kedge.open(tmp_path / "db", durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.set_retention(0)
    return tmp_path / "db"


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "kedge.db-vectors").iterdir() if path.suffix == ".f32"}


def rows(folder: Path) -> tuple[int, int]:
    """Return how many vector rows and entries of the log of what was superseded there are."""
    with closing(sqlite3.connect(folder / "kedge.db")) as connection:
        count = "SELECT (SELECT count(*) FROM vector_rows), (SELECT count(*) FROM supersedes)"
        found: tuple[int, int] = connection.execute(count).fetchone()
    return found


@pytest.mark.parametrize("point", [*STAGED, *SWAPPED])
def test_what_a_killed_compactor_leaves(folder: Path, point: str) -> None:
    with Worker(folder) as worker:
        worker.do("overwrite", 1, 4)
        before = rows(folder)
        worker.do("doom", point)
        worker.ask("compact", 1)
        worker.process.wait()
    if point in STAGED:
        assert files(folder) == {"1.f32", "1-1.f32"}
    with kedge.open(folder, read_only=True) as k:
        report = k.fsck(full=True)
        assert report.findings == ()
        assert {note.kind for note in report.notes} <= {"compaction"}
        assert any("other files" in note.message for note in report.notes) == (len(files(folder)) == 2)
        assert look(k.view()) == (4, set())
    with kedge.open(folder, durability="normal") as k:
        assert files(folder) == ({"1.f32"} if point in STAGED else {"1-1.f32"}), "to open it drops what is no use"
        assert look(k.view()) == (4, set())
        reclaimed = k.optimize("kb")["kb"].reclaimed_rows
        assert reclaimed == (3 * len(KEYS) if point in STAGED else 0)
        assert rows(folder) == (len(KEYS), 0)
        assert before == (4 * len(KEYS), 3 * len(KEYS))
        assert look(k.view()) == (4, set())
        assert k.fsck(full=True).findings == ()
