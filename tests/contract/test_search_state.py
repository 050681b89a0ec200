"""Interrupted searches leave the index intact; exact search does not depend on the vectors' lengths."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite import segment
from kedge.backends.sqlite.vectors import SqliteVectors

QUERY = [1.0, 2.0, 3.0]


@pytest.mark.only("sqlite", reason="this index lies in the process; on PostgreSQL the database has it")
def test_an_interrupted_search_leaves_the_index_whole(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert(["a", "b"], [QUERY, [3.0, 2.0, 1.0]])
    kb = k.view().vectors("kb")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(segment, "lengths_of", interrupt)  # where the first search after a start spends its time
        with pytest.raises(KeyboardInterrupt):
            kb.search(QUERY)
    assert [hit.id for hit in kb.search(QUERY)] == ["a", "b"]
    assert kb.count() == 2


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_a_cosine_has_no_scale(k: kedge.Kedge, scale: float) -> None:
    chance = np.random.default_rng(0)
    others = (chance.random((100, 3)) - 0.5) * scale
    with k.turn(agent="support") as turn:
        kb = turn.vectors("kb")
        kb.upsert([f"other {i}" for i in range(len(others))], others)
        kb.upsert(["same"], [QUERY])
        assert [hit.id for hit in kb.search(QUERY, k=1)] == ["same"]
        assert [hit.id for hit in kb.search(np.array(QUERY) * scale, k=1)] == ["same"]


@pytest.mark.only("sqlite", reason="this index lies in the process; on PostgreSQL the database has it")
def test_what_another_thread_learns_meanwhile_changes_no_lineage_of_a_search(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`unembedded` was decided by the one delete that there was, whatever came while the search went on."""
    k.collection("two spaces", dim=2, embedder="two/embedder")
    ones = np.ones((2, 2), np.float32)
    with k.turn(agent="clerk") as turn:
        turn.vectors("two spaces").upsert(["a", "b"], ones)
    k.deploy("e2", {"two/embedder": {"name": "e2", "dim": 2}})
    k.promote("e2")
    with k.turn(person="p") as turn:
        turn.vectors("two spaces").upsert(["c"], ones[:1])
    k.deploy("d", {"x/prompt": "1"}, canary=1.0, independent=True)
    with k.turn(agent="x", session="q", deployment="d") as turn:
        turn.vectors("two spaces").delete(["a"])
    searched, going_on = threading.Event(), threading.Event()
    search = SqliteVectors._rank

    def slow(self: SqliteVectors, *arguments: Any) -> Any:
        if threading.current_thread().name == "slow":
            searched.set()
            going_on.wait(10)
        return search(self, *arguments)

    monkeypatch.setattr(SqliteVectors, "_rank", slow)
    found: list[tuple[int, frozenset[str]]] = []

    def work() -> None:
        with k.turn(agent="y", session="q") as turn:
            count = turn.vectors("two spaces").search([1, 1], k=1).count_unembedded()
            found.append((count, turn.lineage))

    thread = threading.Thread(target=work, name="slow")
    thread.start()
    assert searched.wait(10)
    with k.turn(person="p", session="z") as turn:
        turn.vectors("two spaces").delete(["a"])
    with k.turn(session="z", agent="clerk") as turn:
        turn.vectors("two spaces").search([1, 1], k=1)
    going_on.set()
    thread.join()
    assert found == [(1, frozenset({"d", "e2"}))]
