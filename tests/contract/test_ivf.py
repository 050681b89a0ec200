"""The approximate index: recall floors on fixed data, only rows that are head, files that may vanish."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from tests.clustered import DIM, Matrix, clustered, recall
from tests.thresholds import lower

ROWS = 6_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make collections of a few hundred rows large."""
    lower(behind=False, put=monkeypatch.setattr)


@pytest.fixture
def k(tmp_path: Path) -> Iterator[kedge.Kedge]:
    with kedge.open(tmp_path / "db", durability="normal") as opened:
        opened.collection("kb", dim=DIM)
        opened.deploy("bad", {"loader/prompt": "x"})
        yield opened


def names(rows: range | npt.NDArray[np.int64]) -> list[str]:
    return [f"doc-{row}" for row in rows]


def load(k: kedge.Kedge, matrix: Matrix) -> None:
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names(range(len(matrix))), matrix)
    assert k.optimize("kb")["kb"].indexed >= len(matrix) - 8


def test_recall_of_a_whole_view(k: kedge.Kedge) -> None:
    matrix = clustered(ROWS, 1)
    load(k, matrix)
    assert recall(k.view(), matrix[::300] + np.float32(0.01)) >= 0.98


def test_recall_in_the_flood(k: kedge.Kedge) -> None:
    matrix = clustered(ROWS, 2)
    load(k, matrix)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = matrix[::400]
    chance = np.random.default_rng(0)
    for number, query in enumerate(queries):
        nearest = np.argsort(-(unit @ query))[: ROWS // 100]
        hidden = chance.choice(nearest, int(0.88 * len(nearest)), replace=False)
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").delete(names(np.sort(hidden)))
        assert recall(k.view(), queries[number : number + 1]) >= 0.9
    assert recall(k.view(), queries) >= 0.95


def test_recall_where_a_view_sees_few_rows(k: kedge.Kedge) -> None:
    matrix = clustered(ROWS, 3)
    with k.turn(agent="loader", deployment="bad") as turn:
        turn.vectors("kb").upsert(names(range(ROWS)), matrix)
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names(range(0, ROWS, 20)), matrix[::20])
    k.optimize("kb")
    k.rollback("bad")
    assert recall(k.view(), matrix[::400]) >= 0.98
    assert k.view().vectors("kb").count() == ROWS // 20


def test_what_is_not_head_is_never_found(k: kedge.Kedge, tmp_path: Path) -> None:
    """Adds, overwrites, deletes, rollbacks, reinstatements and indexing, against the journal's heads."""
    chance = random.Random(4)
    matrix = clustered(3_000, 4)
    load(k, matrix[:600])
    with kedge.open(tmp_path / "db", durability="normal") as other:
        for step in range(30):
            inside = chance.random() < 0.4 and k.deployment("bad").status != "rolled back"
            with k.turn(agent="loader" if inside else "clerk", deployment="bad" if inside else None) as turn:
                picked = sorted(chance.sample(range(600), 40))
                if chance.random() < 0.3:
                    turn.vectors("kb").delete(names(np.array(picked)))
                else:
                    turn.vectors("kb").upsert(names(np.array(picked)), matrix[[p + 600 * (step % 4) for p in picked]])
            if step % 7 == 3:
                k.rollback("bad", verify=False)
            elif step % 7 == 5 and k.deployment("bad").status == "rolled back":
                k.reinstate("bad")
            if step % 10 == 9:
                chance.choice((k, other)).optimize()
            for reader in (k, other):
                view = reader.view(deployment="bad" if k.deployment("bad").status == "staged" else None).vectors("kb")
                query = matrix[chance.randrange(3_000)]
                found, truth = view.search(query, k=20), view.search(query, k=20, exact=True)
                heads = view.get([hit.id for hit in found])
                assert [heads[hit.id].seq for hit in found] == [hit.seq for hit in found]
                assert len({hit.seq for hit in found} & {hit.seq for hit in truth}) >= 0.8 * len(truth)
    assert k.fsck(full=True).ok


def test_a_superseder_of_a_row_that_would_have_ranked_influences(k: kedge.Kedge) -> None:
    matrix = clustered(1_000, 5)
    load(k, matrix)
    with k.turn(agent="loader", deployment="bad") as turn:
        turn.vectors("kb").upsert(["doc-7"], -matrix[7:8])
    with k.turn(deployment="bad", agent="clerk") as turn:
        assert "doc-7" not in {hit.id for hit in turn.vectors("kb").search(matrix[7], k=3)}
        assert turn.lineage == {"bad"}


def test_a_filter_looks_at_the_tail_to_its_end(k: kedge.Kedge) -> None:
    """Few of the indexed rows are left, and with those of the tail they are more than a search looks at first."""
    matrix = clustered(400, 9)
    load(k, matrix)
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(names(range(10, 400)))
        turn.vectors("kb").upsert(names(range(1_000, 1_036)), matrix[:36], [{"n": n} for n in range(36)])
    view = k.view().vectors("kb")
    for number in range(36):
        found = view.search(-matrix[number], k=5, where={"n": number})
        assert [hit.id for hit in found] == [f"doc-{1_000 + number}"]


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "no manifest"])
def test_index_files_are_caches(k: kedge.Kedge, tmp_path: Path, damage: str) -> None:
    matrix = clustered(1_000, 6)
    load(k, matrix)
    folder = next(tmp_path.glob("db/*-vectors"))
    (path,) = folder.glob("*.ivf")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    else:
        next(folder.glob("*.ivf.json")).unlink()
    with kedge.open(tmp_path / "db") as other:
        assert [hit.id for hit in other.view().vectors("kb").search(matrix[3], k=1)] == ["doc-3"]
        assert other.optimize()["kb"].indexed == 1_000
        assert not other.view().vectors("kb").search(matrix[3], k=1).exact
    assert k.fsck(full=True).ok


def test_parts_stay_few(k: kedge.Kedge, tmp_path: Path) -> None:
    matrix = clustered(ROWS, 7)
    for first in range(0, ROWS, 500):
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(names(range(first, first + 500)), matrix[first : first + 500])
        k.optimize()
    assert len(list(tmp_path.glob("db/*-vectors/*.ivf"))) <= 4
    assert recall(k.view(), matrix[::500]) >= 0.98


def test_a_forked_process_searches_exactly(k: kedge.Kedge) -> None:
    matrix = clustered(1_000, 8)
    load(k, matrix)
    view = k.view().vectors("kb")
    assert not view.search(matrix[3]).exact
    child = os.fork()
    if child == 0:
        try:
            hits = view.search(matrix[3], k=1)
            os._exit(0 if hits.exact and hits[0].id == "doc-3" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
