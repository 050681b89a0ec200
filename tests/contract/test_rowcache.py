"""The row cache file of a segment: equal to SQLite, and ignored when it is wrong."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite import row_cache
from kedge.backends.sqlite.row_cache import RowCache
from tests.thresholds import lower

DIM = 8


@pytest.fixture(autouse=True)
def recalled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lower the thresholds; return what became of each attempt to use a file."""
    lower(50, behind=False, put=monkeypatch.setattr)
    outcomes: list[bool] = []
    load = RowCache.load

    def spy(*arguments: Any) -> bool:
        outcomes.append(load(*arguments))
        return outcomes[-1]

    monkeypatch.setattr(RowCache, "load", spy)
    return outcomes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with kedge.open(tmp_path / "db", durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("bad", {"loader/prompt": "x"})
        upsert(k, range(300), 0)
    return tmp_path / "db"


def upsert(k: kedge.Kedge, numbers: range | list[int], salt: int, **opened: Any) -> None:
    chance = np.random.default_rng(salt)
    with k.turn(**{"agent": "clerk"} | opened) as turn:
        rows = chance.standard_normal((len(numbers), DIM), np.float32)
        turn.vectors("kb").upsert([f"doc-{n}" for n in numbers], rows)


def file_of(folder: Path) -> Path:
    return folder / "kedge.db-vectors" / "1.rows"


def known(folder: Path) -> dict[str, Any]:
    """Open it, and return what the process then has in memory of the rows, and what it finds."""
    with kedge.open(folder, durability="normal") as k:
        hits = k.view().vectors("kb").search(np.ones(DIM), k=400)
        (segment,) = k._kernel.backend.vectors._snapshots._segments.values()  # type: ignore[attr-defined]
        return {
            "seqs": segment.seqs.tolist(),
            "states": segment.states.tolist(),
            "norms": segment.norms.tolist(),
            "hits": [(hit.id, hit.seq, hit.score) for hit in hits],
        }


def keep(folder: Path) -> bytes:
    """Have the file written, and return it."""
    known(folder)
    return file_of(folder).read_bytes()


def test_whoever_opens_next_reads_the_file_alone(folder: Path, recalled: list[bool]) -> None:
    first = known(folder)
    assert file_of(folder).exists()
    second = known(folder)
    assert recalled == [False, True]
    assert second == first


def test_it_says_what_sqlite_says_whatever_happened(folder: Path, recalled: list[bool], tmp_path: Path) -> None:
    chance = random.Random(3)
    for step in range(40):
        with kedge.open(folder, durability="normal") as k:
            if chance.random() < 0.5:
                k.view().vectors("kb").search(np.ones(DIM))  # so that it knows rows before they change
            inside = chance.random() < 0.4 and k.deployment("bad").status != "rolled back"
            opened = {"agent": "loader", "deployment": "bad"} if inside else {"agent": "clerk"}
            picked = chance.sample(range(400), chance.choice((5, 80)))
            if chance.random() < 0.3:
                with k.turn(**opened) as turn:  # type: ignore[arg-type]
                    turn.vectors("kb").delete([f"doc-{n}" for n in picked])
            else:
                upsert(k, picked, step, **opened)
            if chance.random() < 0.3:
                flip = k.reinstate if k.deployment("bad").status == "rolled back" else k.rollback
                flip("bad")
        del recalled[:]
        bare = tmp_path / f"bare-{step}"
        shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.rows"))
        kept = known(folder)
        assert recalled == [True] or step == 0
        assert kept == known(bare)


@pytest.mark.parametrize("damage", ["cut", "flipped head", "flipped row", "empty", "other segment", "later format"])
def test_a_file_that_is_not_right_is_ignored_and_written_anew(
    folder: Path, recalled: list[bool], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    truth = known(folder)
    path = file_of(folder)
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-16])
        case "flipped head":
            path.write_bytes(content[:30] + bytes([content[30] ^ 1]) + content[31:])
        case "flipped row":
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 64]) + content[-8:])
        case "empty":
            path.write_bytes(b"")
        case "other segment":
            with kedge.open(folder) as k:
                k.collection("other", dim=DIM)
                with k.turn(agent="clerk") as turn:
                    turn.vectors("other").upsert([f"o{n}" for n in range(300)], np.ones((300, DIM)))
                k.view().vectors("other").search(np.ones(DIM))
            shutil.copy(path.with_name("2.rows"), path)
        case _:
            monkeypatch.setattr(row_cache, "_FORMAT", 2)
    del recalled[:]
    assert known(folder) == truth
    assert known(folder) == truth
    assert recalled == [False, True]


def test_a_file_from_another_history_is_not_believed(folder: Path, recalled: list[bool], tmp_path: Path) -> None:
    """An older copy of the database comes back over what was written since, whose file stays where it was."""
    backup = tmp_path / "backup"
    shutil.copytree(folder, backup)
    with kedge.open(folder) as k:
        upsert(k, range(200, 350), 1)
    keep(folder)
    left = file_of(folder).read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    file_of(folder).write_bytes(left)
    with kedge.open(folder) as k:
        upsert(k, range(150, 400), 2)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("*.rows"))
    del recalled[:]
    assert known(folder) == known(bare)
    assert recalled == [False, False]
    known(folder)
    assert recalled[-1]


def test_an_overwrite_of_another_history_is_not_believed(folder: Path, recalled: list[bool], tmp_path: Path) -> None:
    """The rows are the same, and only their states tell the two apart."""
    backup = tmp_path / "backup"
    shutil.copytree(folder, backup)
    with kedge.open(folder) as k, k.turn(agent="clerk") as turn:
        k.view().vectors("kb").search(np.ones(DIM))
        turn.vectors("kb").delete([f"doc-{n}" for n in range(60)])
    keep(folder)
    left = file_of(folder).read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    file_of(folder).write_bytes(left)
    with kedge.open(folder) as k, k.turn(agent="clerk") as turn:
        turn.vectors("kb").delete([f"doc-{n}" for n in range(100, 160)])
    del recalled[:]
    found = {name for name, _, _ in known(folder)["hits"]}
    assert found == {f"doc-{n}" for n in range(300) if not 100 <= n < 160}
    assert recalled == [False]


def test_a_segment_that_took_over_the_number_of_another_is_told_apart(folder: Path, recalled: list[bool]) -> None:
    keep(folder)
    with closing(sqlite3.connect(folder / "kedge.db")) as connection:
        for table in ("segments", "vector_rows", "supersedes"):
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
    with kedge.open(folder) as k:
        k.collection("other", dim=DIM)
        with k.turn(agent="clerk") as turn:
            turn.vectors("other").upsert([f"o{n}" for n in range(400)], np.ones((400, DIM)))
        del recalled[:]
        assert k.view().vectors("other").search(np.ones(DIM), k=1)[0].score == pytest.approx(1)
    assert recalled == [False]


def test_what_cannot_be_written_is_left_be(folder: Path) -> None:
    (file_of(folder).with_name("1.rows.lock")).mkdir()
    with kedge.open(folder) as k:
        assert k.view().vectors("kb").search(np.ones(DIM), k=1)
    assert not file_of(folder).exists()


def test_a_read_only_process_writes_none(folder: Path) -> None:
    with kedge.open(folder, read_only=True) as k:
        assert k.view().vectors("kb").search(np.ones(DIM), k=1)
        with pytest.raises(kedge.ReadOnly):
            k.optimize()
    assert not file_of(folder).exists()


def test_a_running_process_writes_it_behind_its_searches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    lower(50, put=monkeypatch.setattr)
    with kedge.open(folder) as k:
        k.view().vectors("kb").search(np.ones(DIM))
        k._kernel.backend.vectors._snapshots._row_cache.join()  # type: ignore[attr-defined]
        assert file_of(folder).exists()


def test_a_segment_that_is_shorter_than_its_file_is_refused_by_name(folder: Path) -> None:
    keep(folder)
    segment = folder / "kedge.db-vectors" / "1.f32"
    content = segment.read_bytes()
    for damage in (lambda: segment.write_bytes(content[:-4]), segment.unlink):
        damage()
        with kedge.open(folder) as k, pytest.raises(kedge.DamagedSegment, match=r"1\.f32"):
            k.view().vectors("kb").search(np.ones(DIM))
