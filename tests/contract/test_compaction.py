"""Compaction through public calls: unreadable points in the past, full disks, indexes, background runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from kedge.backends.sqlite import compaction, indexes, ivf, ranking, upkeep
from kedge.support import failpoints
from tests.contract import forward
from tests.contract.forward import Clock
from tests.stateful.share import SOAKING

clock = forward.clock

DIM = 8
IDS = [f"v{n:03}" for n in range(200)]
Matrix = npt.NDArray[np.float32]


@pytest.fixture
def k(tmp_path: Path, clock: Clock) -> Iterator[kedge.Kedge]:
    with kedge.open(tmp_path, durability="normal", clock=clock) as opened:
        opened.collection("kb", dim=DIM)
        yield opened
        failpoints.disarm()


def matrix(version: int, count: int = len(IDS)) -> Matrix:
    return np.random.default_rng(version).standard_normal((count, DIM)).astype(np.float32)


def write(k: kedge.Kedge, version: int, count: int = len(IDS), **opened: Any) -> int:
    """Write the first ids anew as one batch, and return its last seq."""
    with k.turn(**{"agent": "clerk"} | opened) as turn:
        return turn.vectors("kb").upsert(IDS[:count], matrix(version, count))[-1]


def version_of(view: kedge.ReadView) -> int:
    """Return which version a view shows, by the vector of an id; fail unless a search finds it, too."""
    kb = view.vectors("kb")
    found = kb.get(IDS[:1])[IDS[0]].vector
    version = next(n for n in range(50) if np.array_equal(matrix(n)[0], found))
    assert [hit.id for hit in kb.search(matrix(version)[5], k=1)] == [IDS[5]]
    assert kb.count() == len(IDS)
    return version


def files(k: kedge.Kedge) -> dict[str, int]:
    """Return the sizes of the files that hold anything, by name."""
    folder = Path(k.url.removeprefix("sqlite:///") + "-vectors")
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.stat().st_size}


def bytes_on_disk(k: kedge.Kedge) -> int:
    return sum(files(k).values())


def backend_of(k: kedge.Kedge) -> Any:
    return k._kernel.backend


# ── what can be read ──


def test_the_horizon_decides_what_goes(k: kedge.Kedge, clock: Clock) -> None:
    first = write(k, 1)
    k.snapshot("first")
    clock.ahead = 100
    write(k, 2)
    clock.ahead = 200
    third = write(k, 3)
    clock.ahead = 250
    fourth = write(k, 4)
    k.set_retention(40)
    assert k.optimize("kb")["kb"] == kedge.Optimized(0, len(IDS), len(IDS) * DIM * 4), "the second version alone"
    k.set_retention(None)
    assert [version_of(k.at(point)) for point in ("first", third, fourth)] == [1, 3, 4]
    assert version_of(k.at(datetime.fromtimestamp(clock.now() - 30, UTC))) == 3
    assert version_of(k.view()) == 4
    for lost in (first + 1, datetime.fromtimestamp(clock.now() - 120, UTC)):
        with pytest.raises(kedge.PastUnreadable, match="reclaimed by a compaction"):
            k.at(lost).vectors("kb").count()
        assert k.at(lost).context.items() == {}, "only the collection has lost that point"
    assert k.fsck(full=True).findings == ()


def test_a_view_that_was_open_before_says_that_its_point_is_gone(k: kedge.Kedge) -> None:
    past = k.at(write(k, 1))
    k.snapshot("second")
    named = k.at("second")
    write(k, 2)
    k.release_snapshot("second")
    assert version_of(past) == version_of(named) == 1
    k.set_retention(0)
    k.optimize()
    for view in (past, named):
        kb = view.vectors("kb")
        asked = (partial(kb.search, matrix(1)[0]), partial(kb.get, IDS), partial(kb.fetch, IDS), kb.count, kb.batches)
        for ask in asked:
            with pytest.raises(kedge.PastUnreadable, match="compaction"):
                ask()


@pytest.mark.parametrize("reading", ["get", "fetch"])
def test_what_is_read_by_ids_is_read_anew_where_a_compaction_overtakes(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    write(k, 1)
    k.set_retention(0)
    index = backend_of(k).vectors
    name = "vectors" if reading == "get" else "matrix"
    taken = getattr(index, name)

    def late(*asked: Any) -> Any:
        monkeypatch.undo()
        write(k, 2)
        k.optimize()
        return taken(*asked)

    monkeypatch.setattr(index, name, late)
    kb = k.view().vectors("kb")
    found = kb.fetch(IDS[:3]).vectors if reading == "fetch" else [row.vector for row in kb.get(IDS[:3]).values()]
    assert np.array_equal(found, matrix(2)[:3])


def test_batches_that_a_compaction_overtakes_are_to_be_begun_anew(k: kedge.Kedge) -> None:
    write(k, 1)
    k.set_retention(0)
    batches = k.view().vectors("kb").batches(size=50)
    write(k, 2, count=150)
    assert np.array_equal(next(iter(batches)).vectors, matrix(1)[:50]), "superseded since, but not reclaimed"
    k.optimize()
    with pytest.raises(kedge.Retryable, match="compacted away"):
        list(batches)
    (one,) = k.view().vectors("kb").batches()
    assert sorted(one.ids) == IDS


def test_a_longer_retention_that_comes_in_between_is_kept(k: kedge.Kedge) -> None:
    first = write(k, 1)
    write(k, 2)
    k.set_retention(0)
    failpoints.arm("compaction:synced", lambda: k.set_retention(None), nth=1)
    assert k.optimize()["kb"].reclaimed_rows == 0
    assert version_of(k.at(first)) == 1


def test_the_log_says_what_was_reclaimed(k: kedge.Kedge) -> None:
    write(k, 1)
    seq = write(k, 2)
    k.set_retention(0)
    k.optimize()
    (entry,) = backend_of(k).control.entries(operation="compaction:1:1")
    assert (entry.kind, entry.by, entry.is_step) == ("compaction", "compaction", True)
    wanted = {"collection": "kb", "space": "", "rows": 200, "bytes": 200 * DIM * 4, "reclaimed": seq + 1}
    assert entry.detail == wanted


def test_few_rows_are_not_worth_it(k: kedge.Kedge) -> None:
    write(k, 1)
    write(k, 2, count=10)
    k.set_retention(0)
    assert k.optimize()["kb"].reclaimed_rows == 0
    write(k, 3, count=10)
    assert k.optimize()["kb"].reclaimed_rows == 20


def test_everything_may_go(k: kedge.Kedge) -> None:
    k.deploy("d", {"loader/prompt": "x"}, canary=1.0)
    write(k, 1, agent="loader", deployment="d")
    k.rollback("d")
    k.purge("d", confirm="d")
    assert bytes_on_disk(k) == 0
    assert k.view().vectors("kb").count() == 0
    write(k, 2)
    assert version_of(k.view()) == 2
    assert k.verify().vector_consistency_ratio == 1.0
    assert k.fsck(full=True).findings == ()


# ── disks ──


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_ends_it_and_loses_nothing(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    first = write(k, 1)
    write(k, 2)
    write(k, 3, count=100)
    write(k, 4, count=50)
    k.set_retention(0)
    before = files(k)
    calls = iter(range(1_000))

    def pwrite(descriptor: int, content: bytes, offset: int) -> int:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(descriptor, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_COPY_BYTES", 1_000)
        patch.setattr(compaction, "os", _Os(pwrite))
        with pytest.raises(kedge.StorageFull, match=r"1-1\.f32 .*free some space"):
            k.optimize()
    assert files(k) == before
    k.set_retention(None)
    assert version_of(k.at(first)) == 1, "nothing was reclaimed"
    k.set_retention(0)
    assert k.optimize()["kb"].reclaimed_rows == 350
    assert k.fsck(full=True).findings == ()


class _Os:
    def __init__(self, pwrite: Callable[[int, bytes, int], int]) -> None:
        self.pwrite = pwrite

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def test_a_short_file_is_never_packed(k: kedge.Kedge, tmp_path: Path) -> None:
    write(k, 1)
    write(k, 2)
    k.set_retention(0)
    file = tmp_path / "kedge.db-vectors" / "1.f32"
    content = file.read_bytes()
    os.truncate(file, len(content) - 1)
    with pytest.raises(kedge.DamagedSegment, match=r"1\.f32 .*restore it"):
        k.optimize()
    file.write_bytes(content)
    assert k.optimize()["kb"].reclaimed_rows == len(IDS)


# ── the index ──


def test_an_indexed_segment_is_indexed_when_it_is_packed(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf, "ROWS_MIN", 100)
    monkeypatch.setattr(ranking, "EXACT_ROWS", 10)
    monkeypatch.setattr(indexes, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(indexes.Indexes, "_build_in_background", lambda *_: None)
    write(k, 1)
    write(k, 2)
    k.optimize()
    k.set_retention(0)
    found: list[bool] = []
    failpoints.arm("compaction:after-commit", lambda: found.append(k.view().vectors("kb").search(matrix(2)[0]).exact))
    assert k.optimize()["kb"].reclaimed_rows == len(IDS)
    assert found == [False], "from the first search on"
    hits = k.view().vectors("kb").search(matrix(2)[7], k=1)
    assert (hits.exact, hits[0].id) == (False, IDS[7])
    folder = Path(k.url.removeprefix("sqlite:///") + "-vectors")
    assert not [path.name for path in folder.iterdir() if path.name.startswith("1.")], (
        "the old index went with its file"
    )


# ── in the background ──


@pytest.fixture
def keeper(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> upkeep.Upkeep:
    monkeypatch.setattr(upkeep, "ROWS_MIN", 100)
    found: upkeep.Upkeep = backend_of(k).vectors._snapshots._upkeep
    found._next = float("inf")  # no look but those that a test asks for
    return found


def test_space_stays_below_one_and_a_half_times_what_is_live(
    k: kedge.Kedge, clock: Clock, keeper: upkeep.Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(upkeep, "_REST", 0.0)
    k.set_retention(10)
    most = 0.0
    for version in range(1, 40):
        clock.ahead += 5
        write(k, version)
        readable = 3 * len(IDS) * DIM * 4  # this version and those of the last ten seconds
        keeper.check()
        most = max(most, bytes_on_disk(k) / readable)
    assert 1 < most < 1.5
    assert version_of(k.view()) == 39
    assert k.fsck(full=True).findings == ()


@pytest.mark.soak
@pytest.mark.skipif(not SOAKING, reason="it takes minutes: make soak")
@pytest.mark.timeout(1_800)
def test_a_soak_of_overwrites_stays_below_one_and_a_half(
    k: kedge.Kedge, clock: Clock, keeper: upkeep.Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(upkeep, "_REST", 0.0)
    dice = np.random.default_rng(5)
    k.set_retention(6)
    most, packed = 0.0, set()
    for step in range(400):
        clock.ahead += 1
        release = f"r{step // 40}"
        if step % 40 == 0:
            k.deploy(release, {"loader/prompt": release}, canary=1.0)
        ids = [f"v{n}" for n in np.unique(dice.zipf(1.2, 2_000) % 20_000).tolist()]
        inside = release if step % 40 < 20 else None
        with k.turn(agent="loader" if inside else "clerk", deployment=inside) as turn:
            if step % 9 == 8:
                turn.vectors("kb").delete(ids[::7])
            else:
                turn.vectors("kb").upsert(ids, matrix(step, len(ids)))
        if step % 40 == 30:
            k.rollback(release, verify=False) if step % 80 == 30 else k.promote(release)
        if step % 40 == 35:
            k.purge(release, confirm=release) if step % 80 == 35 else k.settle(release)
        keeper.check()
        plan = backend_of(k).vectors._compactor._decide(1)
        packed.add(plan.layout.packing)
        if step > 10:
            most = max(most, bytes_on_disk(k) / max(1, len(plan.kept) * DIM * 4))
    assert 1 < most < 1.5
    assert len(packed) > 3
    kb = k.view().vectors("kb")
    found = kb.get(kb.ids())
    sample = list(found)[::50]
    assert all(kb.search(found[ident].vector, k=1, exact=True)[0].score > 0.999 for ident in sample)
    assert k.fsck(full=True).findings == ()


def test_a_look_is_taken_in_the_background(k: kedge.Kedge, keeper: upkeep.Upkeep) -> None:
    write(k, 1)
    write(k, 2)
    k.set_retention(0)
    keeper._next = 0.0
    k.view().vectors("kb").search(matrix(2)[0])
    thread = keeper._thread
    assert thread is not None
    thread.join()
    assert bytes_on_disk(k) == len(IDS) * DIM * 4
    keeper._next = 0.0
    write(k, 3)
    again = keeper._thread
    assert again is not None
    assert again is not thread, "writes have it look, too"
    again.join()


def test_what_cannot_go_is_not_looked_at_again_and_again(
    k: kedge.Kedge, keeper: upkeep.Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(k, 1)
    write(k, 2)
    asked: list[int] = []
    compact = keeper.compactor.compact

    def count(segment: int, **options: Any) -> Any:
        asked.append(segment)
        return compact(segment, **options)

    monkeypatch.setattr(keeper.compactor, "compact", count)
    for _ in range(5):
        keeper.check()
    assert asked == [1], "without a horizon all is kept"


def test_leftovers_of_rows_are_cleared_in_the_background(k: kedge.Kedge, keeper: upkeep.Upkeep) -> None:
    write(k, 1)
    write(k, 2)
    k.set_retention(0)

    def stop() -> None:
        raise RuntimeError("stopped")

    failpoints.arm("clear:begun", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        k.optimize()
    failpoints.disarm()
    (note,) = k.fsck(full=True).notes
    assert (note.kind, note.message.split(";")[0]) == ("compaction", f"{len(IDS)} rows are not in it any more")
    assert version_of(k.view()) == 2
    keeper.check()
    assert k.fsck(full=True).notes == ()
    assert version_of(k.view()) == 2
