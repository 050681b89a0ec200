"""Index builds during writes and reads of other processes: no row missed, none stale."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from kedge.backends.sqlite import ivf
from tests.stateful.share import SOAKING
from tests.thresholds import lower
from tests.workers import Worker, find

SIZE, BATCHES = 100, 20 if SOAKING else 10
BUILDS, BATCHES_MAX = (3, 400) if SOAKING else (2, 200)
NOTHING = {"missed": 0, "missed by exact search": 0, "stale": 0, "hidden": 0, "exact": 0}


def vectors_of(folder: Path) -> Path:
    return folder / "kedge.db-vectors"


@pytest.mark.parametrize("builder", ["writer", "reader"])
def test_every_committed_row_is_found_by_its_own_vector(
    folder: Path, builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower(behind=False, put=monkeypatch.setattr)  # what this process searches by, another has built
    built: set[str] = set()
    batch = 0
    with kedge.open(folder, durability="normal") as k, Worker(folder, "w") as writer, Worker(folder, "r") as reader:
        writer.do("low", behind=builder == "writer")
        reader.do("low", behind=builder == "reader")
        writer.ask("grow", batch, SIZE)
        while len(built) < BUILDS and batch < BATCHES_MAX:
            assert writer.result() is True
            writer.ask("grow", batch + 1, SIZE)
            reader.ask("find", batch, SIZE)
            for found in (find(k, batch, SIZE), reader.result()):
                assert {**found, "exact": 0} == NOTHING
            built |= {part.file for part in ivf.parts_of(vectors_of(folder), "1", "cosine")}
            batch += 1
        assert writer.result() is True
        for earlier in range(batch):
            found = find(k, earlier, SIZE)
            assert {**found, "stale": 0} == NOTHING
        assert k.fsck(full=True).findings == ()
    assert len(built) >= BUILDS


def test_what_is_rolled_back_is_found_by_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower(put=monkeypatch.setattr)
    with kedge.open(folder, durability="normal") as k, Worker(folder, "w") as writer, Worker(folder, "b") as bad:
        k.deploy("v2", {"support/prompt": "bad"})
        for worker in (writer, bad):
            worker.do("low", behind=True)
        for batch in range(BATCHES):
            writer.ask("grow", batch, SIZE)
        for batch in range(BATCHES_MAX):  # more than it can do before the rollback
            bad.ask("grow", batch, SIZE, deployment="v2")
        for batch in range(BATCHES):
            assert writer.result() is True
            if batch == BATCHES // 2:
                k.promote("v2")
                k.rollback("v2")
            found = find(k, batch, SIZE)
            assert {**found, "exact": 0} == NOTHING
        assert False in [bad.result() for _ in range(BATCHES_MAX)]
        for batch in range(BATCHES):
            assert find(k, batch, SIZE)["hidden"] == 0
        assert k.fsck(full=True).findings == ()


def test_a_killed_builder_blocks_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower(behind=False, put=monkeypatch.setattr)
    with kedge.open(folder, durability="normal") as k:
        with Worker(folder, "w") as writer:
            writer.do("low", behind=False)
            for batch in range(5):
                writer.do("grow", batch, SIZE)
            writer.do("dawdle", "index:part-written", 30)
            writer.ask("optimize")
            while not list(vectors_of(folder).glob("*.ivf.tmp")):
                assert find(k, 4, SIZE)["missed"] == 0
            writer.kill()
        assert k.optimize()["kb"].indexed >= 5 * SIZE
        assert list(vectors_of(folder).glob("*.tmp")) == []
        found = find(k, 4, SIZE)
        assert found == NOTHING
