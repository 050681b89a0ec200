"""pgvector's index: recall floors on fixed data, only rows that are head, calls that do not use it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import kedge
from kedge.backends.postgres import vectors
from tests.clustered import DIM, Matrix, clustered, recall
from tests.databases import raw_rows

ROWS = 4_000
INDEX_BYTES = """
SELECT coalesce(sum(pg_relation_size(indexrelid)), 0) FROM pg_index WHERE indexrelid::regclass::text ~ 'vectors_[0-9]+$'
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make collections of a few hundred rows large."""
    monkeypatch.setattr(vectors, "_EXACT_ROWS", 40)


@pytest.fixture
def k(postgres_url: str) -> Iterator[kedge.Kedge]:
    with kedge.open(postgres_url, durability="normal") as opened:
        opened.collection("kb", dim=DIM)
        opened.deploy("bad", {"loader/prompt": "x"})
        opened.promote("bad")
        yield opened


def load(k: kedge.Kedge, matrix: Matrix) -> None:
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert([f"doc-{row}" for row in range(len(matrix))], matrix)
    assert k.optimize("kb") == {"kb": kedge.Optimized(len(matrix), 0, 0)}


def test_recall_of_a_whole_view(k: kedge.Kedge) -> None:
    matrix = clustered(ROWS, 1)
    load(k, matrix)
    assert recall(k.view(), matrix[::200] + np.float32(0.01)) >= 0.98


def test_recall_in_the_flood_and_after_it(k: kedge.Kedge) -> None:
    matrix = clustered(ROWS, 2)
    load(k, matrix)
    flood = clustered(ROWS // 2, 3)
    with k.turn(agent="loader") as turn:
        turn.vectors("kb").upsert([f"bad-{row}" for row in range(len(flood))], flood)
        turn.vectors("kb").upsert([f"doc-{row}" for row in range(0, ROWS, 2)], matrix[::2] + np.float32(0.2))
    queries = matrix[::200] + np.float32(0.01)
    assert recall(k.view(), queries) >= 0.97
    k.rollback("bad")
    assert recall(k.view(), queries) >= 0.97
    hits = [hit for query in queries for hit in k.view().vectors("kb").search(query, k=10)]
    assert not any(hit.id.startswith("bad-") for hit in hits)
    assert all(hit.lineage == frozenset() for hit in hits)


def test_a_view_that_shows_few_rows_is_searched_exactly(k: kedge.Kedge) -> None:
    load(k, clustered(ROWS, 4))
    k.collection("few", dim=DIM)
    with k.turn(agent="loader") as turn:
        turn.vectors("few").upsert(["a"], clustered(1, 5))
    assert k.view().vectors("few").search(clustered(1, 5)[0]).exact


def test_neither_an_overwrite_nor_a_rollback_touches_rows_of_the_index(k: kedge.Kedge, postgres_url: str) -> None:
    matrix = clustered(1_000, 6)
    load(k, matrix)
    before = raw_rows(postgres_url, INDEX_BYTES)
    assert before[0][0] > 0
    stamps = raw_rows(postgres_url, "SELECT seq, xmin::text FROM vector_rows ORDER BY seq")
    with k.turn(agent="loader") as turn:
        turn.vectors("kb").delete([f"doc-{row}" for row in range(1_000)])
    k.rollback("bad")
    k.reinstate("bad")
    assert raw_rows(postgres_url, INDEX_BYTES) == before
    assert raw_rows(postgres_url, "SELECT seq, xmin::text FROM vector_rows ORDER BY seq") == stamps


def test_an_index_whose_building_failed_is_built_anew(k: kedge.Kedge, postgres_url: str) -> None:
    matrix = clustered(500, 7)
    load(k, matrix)
    name = raw_rows(postgres_url, "SELECT indexname FROM pg_indexes WHERE indexname ~ '^vectors_[0-9]+$'")[0][0]
    raw_rows(postgres_url, f"UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = '{name}'::regclass RETURNING 1")
    assert k.view().vectors("kb").search(matrix[0]).exact
    assert k.optimize("kb") == {"kb": kedge.Optimized(500, 0, 0)}
    assert not k.view().vectors("kb").search(matrix[0]).exact
