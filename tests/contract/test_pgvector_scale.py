"""Recall through pgvector's index over many rows of many dimensions: whole views, floods, narrow views, filters.

The rows are clusters of uneven size and shape, as embeddings are. While soaking there are 100,000 of 384 dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

import kedge
from bench.peers.clustered import Clusters
from kedge.backends.postgres import vectors
from tests.stateful.share import SOAKING

ROWS, DIM, QUERIES = (100_000, 384, 60) if SOAKING else (2_000, 32, 12)
BATCH = 5_000
EXACT_ROWS = ROWS // 40  # so that the view of a twentieth goes through the index; ten thousand as shipped
OF = {"bulk": 1, "five": 20, "few": 1_000}  # one row in so many is in these, or in a narrower one
Matrix = npt.NDArray[np.float32]
Shown = dict[str, Matrix]  # what a view shows, by id


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_EXACT_ROWS", EXACT_ROWS)


@pytest.fixture
def k(postgres_url: str) -> Iterator[kedge.Kedge]:
    with kedge.open(postgres_url, durability="normal") as opened:
        opened.collection("kb", dim=DIM)
        if SOAKING:  # as whoever runs it would: the index is built in memory
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE {connection.info.dbname} SET maintenance_work_mem = '1GB'".encode())
        for name in ("bulk", "five", "flood"):
            opened.deploy(name, {f"{name}/prompt": "x"})
            opened.promote(name)
        yield opened


def upsert(k: kedge.Kedge, agent: str, ids: list[str], matrix: Matrix) -> Shown:
    for begin in range(0, len(ids), BATCH):
        part = ids[begin : begin + BATCH]
        payloads = [labels(name) for name in part]
        with k.turn(agent=agent) as turn:
            turn.vectors("kb").upsert(part, matrix[begin : begin + BATCH], payloads)
    return dict(zip(ids, matrix, strict=True))


def labels(name: str) -> dict[str, int]:
    hashed = crc32(name.encode())
    return {"half": hashed % 2, "twentieth": hashed // 2 % 20}


def tier(row: int) -> str:
    return next(name for name in ("few", "five", "bulk") if row % OF[name] == 0)


def found(
    k: kedge.Kedge, shown: Shown, queries: Matrix, where: dict[str, Any] | None = None, *, by_index: bool = True
) -> float:
    """Return the share of the ten nearest of what a view shows that a search finds."""
    names = [name for name in shown if all(labels(name)[field] == value for field, value in (where or {}).items())]
    matrix = np.stack([shown[name] for name in names])
    kb, shares, exact = k.view().vectors("kb"), [], 0
    for query in queries:
        nearest = {names[row] for row in np.argsort(-(matrix @ query), kind="stable")[:10]}
        hits = kb.search(query, k=10, where=where)
        exact += hits.exact
        assert all(hit.id in shown for hit in hits), "never a row that is not head"
        shares.append(len(nearest & {hit.id for hit in hits}) / len(nearest))
    print(f"{where or ''} of {len(names):,}: recall {np.mean(shares):.4f}, exact {exact}/{len(queries)}")  # noqa: T201
    assert not by_index or exact < len(queries), "it goes through the index"
    return float(np.mean(shares))


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_recall_at_scale(k: kedge.Kedge) -> None:
    source = Clusters(DIM)
    matrix, flood, queries = source.take(ROWS, 0), source.take(ROWS // 4, 1), source.take(QUERIES, 2)
    agents = {"bulk": "bulk", "five": "five", "few": "few"}
    parts: dict[str, Shown] = {}
    for name, agent in agents.items():
        rows = [row for row in range(ROWS) if tier(row) == name]
        parts[name] = upsert(k, agent, [f"doc-{row}" for row in rows], matrix[rows])
    whole = parts["bulk"] | parts["five"] | parts["few"]
    added = upsert(k, "flood", [f"bad-{row}" for row in range(len(flood))], flood)
    moved = matrix[::4] + np.roll(matrix[::4], 1, axis=0)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    over = upsert(k, "flood", [f"doc-{row}" for row in range(0, ROWS, 4)], moved)
    k.optimize("kb")
    assert found(k, whole | added | over, queries) >= 0.98
    k.rollback("flood", verify=False)
    assert found(k, whole, queries) >= 0.98, "after the flood"
    assert found(k, whole, queries, {"half": 1}) >= 0.98
    assert found(k, whole, queries, {"twentieth": 3}) >= 0.98

    k.rollback("bulk", verify=False)
    assert found(k, parts["five"] | parts["few"], queries) >= 0.98
    assert found(k, parts["five"] | parts["few"], queries, {"half": 1}, by_index=False) >= 0.98
    k.rollback("five", verify=False)
    assert found(k, parts["few"], queries, by_index=False) == 1.0, "few rows are all compared"
