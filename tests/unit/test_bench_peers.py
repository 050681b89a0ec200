"""The comparison with other vector stores runs without any of them. No time is asserted."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.peers import __main__ as bench
from bench.peers import text
from bench.peers.adapters import PEERS
from bench.peers.adapters.numpy_peer import NumpyPeer
from bench.peers.clustered import Clusters
from bench.peers.document import Document
from bench.peers.exact import nearest, recall
from bench.peers.findings import targets, wins
from bench.peers.machine import this_machine
from bench.peers.outcome import Outcome, Timing, Undone
from bench.peers.peer import By, Rows, View
from bench.peers.process import disk_bytes, memory
from bench.peers.report import grids, markdown
from bench.peers.stage import Scale, Stage, prepare

SCALE = Scale("clustered tiny", "clustered", rows=600, dim=16, queries=10)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return prepare(SCALE, tmp_path_factory.mktemp("stage"), "", lambda _: None)


def test_kedge_and_numpy_play_the_whole_piece(stage: Stage, tmp_path: Path) -> None:
    outcomes = [bench.play(name, stage, tmp_path, 0.98, 60) for name in ("kedge", "numpy")]
    assert list(tmp_path.iterdir()) == []
    for one in outcomes:
        assert one.status == "ok"
        assert one.undone is not None
        assert (one.undone.wrong, one.undone.survived) == ([], 1.0)
        for timing in (one.plain, one.view_on, one.few, one.tiny, one.flood, one.flood_filtered, one.after):
            assert timing is not None
            assert timing.recall == 1.0
    assert len(outcomes[0].undone_again) == 5
    document = Document(this_machine(), "lsa", outcomes, 1.0)
    assert msgspec.json.decode(msgspec.json.encode(document), type=Document) == document
    page = markdown(document)
    assert "## Clustered tiny" in page
    assert "| Kedge |" in page
    assert str(tmp_path) not in page
    assert all(len(row) == len(grid.head) for grid in grids(document) for row in grid.rows)


def test_a_peer_that_is_not_installed_is_said_to_be(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "shadow"
    (shadow / "chromadb").mkdir(parents=True)
    (shadow / "chromadb" / "__init__.py").write_text("raise ModuleNotFoundError('gone', name='chromadb')\n")
    monkeypatch.setenv("PYTHONPATH", str(shadow))
    outcome = bench.play("chroma", stage, tmp_path, 0.98, 60)
    assert outcome.status == "not installed (chromadb)"
    assert "not installed" in markdown(Document(this_machine(), "", [outcome], 1.0))


def test_a_peer_that_is_too_slow_is_stopped(stage: Stage, tmp_path: Path) -> None:
    assert bench.play("kedge", stage, tmp_path, 0.98, 0).status.startswith("stopped")


def test_the_document_can_be_read_and_written_again(tmp_path: Path) -> None:
    measured, again, page = tmp_path / "a.json", tmp_path / "b" / "b.json", tmp_path / "page.md"
    measured.write_bytes(msgspec.json.encode(Document(this_machine(), "", [_outcome("kedge", 1.0, 0.01)], 1.0)))
    assert bench.main(["--from", str(measured), "--json", str(again), "--markdown", str(page)]) == 0
    assert json.loads(again.read_text()) == json.loads(measured.read_text())
    assert page.read_text().startswith("# Kedge beside other vector stores")


# ── the stage ──


def test_the_first_rows_are_the_same_whatever_the_number() -> None:
    few, many = Clusters(8).take(100, 0), Clusters(8).take(20_100, 0)
    assert np.array_equal(few, many[:100])
    assert np.allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)
    assert not np.array_equal(few, Clusters(8).take(100, 1))


def test_the_flood_hides_most_of_what_is_near(stage: Stage) -> None:
    near, _ = nearest(stage.array("rows"), stage.array("centres"), 8)
    flooded = stage.array("by")[near] == By.FLOOD
    assert (flooded.mean(axis=1) >= 0.75).all()


def test_views_show_their_share(stage: Stage) -> None:
    by = stage.array("by")
    assert np.isin(by, View.TINY.tags).sum() == 10
    assert np.isin(by, View.FEW.tags).sum() == 30
    shown = np.isin(by, View.FEW.tags)
    assert shown[stage.truth("test", View.FEW)].all()


def test_others_write_nothing_that_the_rollbacks_take_and_something_over_the_bad(stage: Stage) -> None:
    acts = stage.acts()
    assert set(acts.other_over_bad.ids) <= set(acts.overwritten.ids)
    assert not set(acts.other_overwritten.ids) & set(acts.overwritten.ids)
    assert not (stage.array("by")[acts.overwritten.ids] == By.FLOOD).any()
    numbers = acts.numbers_after()
    assert (numbers[acts.added.ids] == -1).all()
    assert (numbers[acts.other_over_bad.ids] == acts.other_over_bad.numbers).all()


def test_a_stage_is_made_once_and_again_when_another_is_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    prepare(SCALE, tmp_path, "", said.append)
    made = len(said)
    prepare(SCALE, tmp_path, "", said.append)
    assert len(said) == made
    assert len(prepare(msgspec.structs.replace(SCALE, rows=500), tmp_path, "", said.append).array("rows")) == 500


def test_exact_search_agrees_with_sorting() -> None:
    random = np.random.default_rng(1)
    rows, queries = random.standard_normal((70, 4), np.float32), random.standard_normal((3, 4), np.float32)
    shown = random.random(70) < 0.5
    places, _ = nearest(rows, queries, 5, shown)
    scores = np.where(shown, queries @ rows.T, -np.inf)
    assert np.array_equal(places, np.argsort(-scores, axis=1)[:, :5])
    few, _ = nearest(rows[:3], queries, 5)
    assert (few[:, 3:] == -1).all()
    assert recall([[1, 2], [3]], np.array([[1, 9], [3, -1]])) == pytest.approx(2 / 3)


def test_latent_semantics_find_the_like() -> None:
    texts = [
        "open a file for reading",
        "read the file that is open",
        "sort a list of numbers",
        "numbers sorted in a list",
    ]
    rows = text.lsa(texts, 2)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    likeness = rows @ rows.T
    assert likeness[0, 1] > likeness[0, 2]
    assert likeness[2, 3] > likeness[1, 3]


# ── the peers ──


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_says_what_it_is(name: str) -> None:
    kind = PEERS[name]
    assert kind.title
    assert kind.index
    assert kind.method
    assert list(kind.efforts) == sorted(kind.efforts)


def test_a_later_good_write_over_a_bad_one_stays(tmp_path: Path) -> None:
    peer = NumpyPeer()
    peer.create(tmp_path, 2, 2)
    peer.load(_rows([0, 1], [0, 1], By.REST))
    peer.overwrite(_rows([0, 1], [10, 11], By.BAD), keep=True)
    peer.overwrite(_rows([1], [12], By.OTHER), keep=False)
    peer.roll_back(By.BAD)
    assert {i: found.number for i, found in peer.get([0, 1]).items()} == {0: 0, 1: 12}


def test_memory_and_disk_are_measured(tmp_path: Path) -> None:
    import os  # noqa: PLC0415

    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert 10_000 <= disk_bytes(tmp_path) < 1_000_000
    assert memory([os.getpid()]).own > 1_000_000


# ── what is said of the numbers ──


def test_targets_and_wins_are_told_as_they_are() -> None:
    kedge, quick, careless = (
        _outcome("kedge", 2.0, 0.01),
        _outcome("qdrant-edge", 1.0, 0.5),
        _outcome("chroma", 0.5, 9.0),
    )
    careless.plain = Timing(0.5, 1, 10, 0.4)
    document = Document(this_machine(), "", [kedge, quick, careless], 1.0)
    said = "\n".join(wins(document))
    assert "median search: qdrant-edge 1 s; Kedge 2 s" in said
    assert "chroma" not in said
    met = {target.what: (target.measured, target.met) for target in targets(document)}
    what = "big: rollback speed-up, call ≥ 20×"
    assert met[what][1] is True
    assert "(qdrant-edge)" in met[what][0]
    quick.undone = Undone(0.1, 0.1, ["3 of 4 added rows"], 1.0)
    met = {target.what: (target.measured, target.met) for target in targets(document)}
    assert "(chroma)" in met[what][0]


def _rows(ids: list[int], numbers: list[int], by: By) -> Rows:
    vectors = np.array([[n, 1] for n in numbers], np.float32)
    return Rows(np.array(ids), vectors, np.array(numbers), np.full(len(ids), by, np.int8))


def _outcome(peer: str, p50: float, right: float) -> Outcome:
    title = "Kedge" if peer == "kedge" else peer
    timing, undone = Timing(p50, p50, 10, 1.0), Undone(right, right, [], 1.0)
    return Outcome(peer, title, "big", 100_000, plain=timing, undone=undone)
