"""Damaged or foreign index files are detected, not used for long, and rebuilt."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from kedge.backends.sqlite import indexes, ivf
from tests.thresholds import lower

DIM, ROWS = 16, 2_000
Matrix = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    lower(put=monkeypatch.setattr)
    monkeypatch.setattr(ivf, "_HEAD_BYTES", 1_024)  # of files that are small, too, this is the beginning only


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with kedge.open(tmp_path / "db", durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("bad", {"loader/prompt": "x"})
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(names(range(ROWS)), rows(ROWS, 1))
        assert k.optimize()["kb"].indexed == ROWS
    return tmp_path / "db"


def names(numbers: range) -> list[str]:
    return [f"doc-{number}" for number in numbers]


def rows(count: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal((count, DIM), np.float32)


def vectors_of(folder: Path) -> Path:
    return folder / "kedge.db-vectors"


def flip(folder: Path, at: float) -> Path:
    """Change a byte of the index file, so far from its beginning."""
    (path,) = vectors_of(folder).glob("*.ivf")
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0x10
    path.write_bytes(content)
    return path


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("at", [0.0001, 0.3, 0.6, 0.95])
def test_a_flipped_byte_anywhere_is_noticed_and_the_index_built_anew(folder: Path, at: float) -> None:
    query = rows(ROWS, 1)[7]
    damaged = flip(folder, at).read_bytes()

    def is_sound() -> bool:
        k.view().vectors("kb").search(query)
        parts = ivf.parts_of(vectors_of(folder), "1", "cosine")
        return bool(parts) and all(ivf.is_sound(vectors_of(folder), part) for part in parts)

    with kedge.open(folder) as k:
        until(is_sound)
        hits = k.view().vectors("kb").search(query, k=1)
        assert hits[0].id == "doc-7"
        until(lambda: not k.view().vectors("kb").search(query).exact)
    (path,) = vectors_of(folder).glob("*.ivf")
    assert path.read_bytes() != damaged


def test_optimize_reads_an_index_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes.Indexes, "_check", lambda *_: None)
    flip(folder, 0.9)
    with kedge.open(folder) as k:
        assert k.optimize()["kb"].indexed == ROWS
        assert k.fsck(full=True).notes == ()


@pytest.mark.parametrize(("at", "full", "noted"), [(0.0001, False, 1), (0.9, False, 0), (0.9, True, 1)])
def test_fsck_notes_an_unsound_index_and_calls_it_no_damage(folder: Path, at: float, full: bool, noted: int) -> None:
    with kedge.open(folder, read_only=True) as k:
        assert k.fsck(full=True).notes == ()
    path = flip(folder, at)
    with kedge.open(folder, read_only=True) as k:
        report = k.fsck(full=full)
    assert report.ok
    assert len(report.notes) == noted
    assert all(path.name in note.message for note in report.notes)


def test_fsck_notes_a_file_of_rows_that_is_not_what_was_written(folder: Path) -> None:
    path = vectors_of(folder) / "1.rows"
    path.write_bytes(path.read_bytes()[:-1])
    with kedge.open(folder, read_only=True) as k:
        report = k.fsck()
    assert report.ok
    assert [note.kind for note in report.notes] == ["rows"]


def test_a_read_only_process_does_not_use_what_it_found_unsound(folder: Path) -> None:
    before = flip(folder, 0.6).read_bytes()
    with kedge.open(folder, read_only=True) as k:
        until(lambda: k.view().vectors("kb").search(rows(1, 2)[0]).exact)
    (path,) = vectors_of(folder).glob("*.ivf")
    assert path.read_bytes() == before


def test_an_index_from_another_history_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older copy of the database comes back, and the index of what was written since stays where it was."""
    monkeypatch.setattr(indexes.Indexes, "_build_in_background", lambda *_: None)
    backup = tmp_path / "backup"
    shutil.copytree(folder, backup)
    with kedge.open(folder) as k:
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert([f"new-{n}" for n in range(ROWS)], rows(ROWS, 2))
        k.optimize()
    left = [path for path in vectors_of(folder).iterdir() if ".ivf" in path.name]
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in left:
        shutil.move(path, kept)
    shutil.rmtree(folder)
    shutil.copytree(backup, folder, ignore=shutil.ignore_patterns("*.ivf*"))
    for path in kept.iterdir():
        shutil.move(path, vectors_of(folder))
    with kedge.open(folder) as k:
        assert k.view().vectors("kb").search(rows(1, 3)[0]).exact  # it holds more rows than there are
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert([f"other-{n}" for n in range(ROWS)], rows(ROWS, 4))
        assert k.view().vectors("kb").search(rows(1, 3)[0]).exact  # and now as many, but others
        assert k.optimize()["kb"].indexed == 2 * ROWS
        for number in range(0, ROWS, 100):
            hits = k.view().vectors("kb").search(rows(ROWS, 4)[number], k=1)
            assert not hits.exact
            assert hits[0].id == f"other-{number}"


def test_a_purge_takes_away_what_holds_the_vectors_codes(folder: Path) -> None:
    with kedge.open(folder) as k:
        with k.turn(agent="loader", deployment="bad") as turn:
            turn.vectors("kb").upsert(["secret"], rows(1, 5))
        k.rollback("bad")
        k.purge("bad", confirm="bad")
    assert {path.name for path in vectors_of(folder).iterdir()} <= {"1.f32", "1.ivf.lock", "1.rows.lock"}
    with kedge.open(folder) as k:
        assert k.optimize()["kb"].indexed == ROWS


def test_what_a_killed_builder_left_is_taken_away(folder: Path) -> None:
    left = vectors_of(folder) / "1.0-99.ivf.tmp"
    left.write_bytes(b"half")
    with kedge.open(folder) as k:
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert([f"new-{n}" for n in range(ROWS)], rows(ROWS, 6))
        k.optimize()
    assert not left.exists()


def test_an_index_that_cannot_be_built_hinders_no_search(folder: Path) -> None:
    for path in list(vectors_of(folder).glob("*ivf*")):
        path.unlink()
    (vectors_of(folder) / "1.ivf.lock").mkdir()
    with kedge.open(folder) as k:
        for _ in range(3):
            assert k.view().vectors("kb").search(rows(ROWS, 1)[7], k=1)[0].id == "doc-7"
        with pytest.raises(kedge.KedgeError, match="vectors"):
            k.optimize()
