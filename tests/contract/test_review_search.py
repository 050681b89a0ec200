"""A search that was interrupted leaves the index whole; an exact search is exact whatever the vectors' lengths."""

from __future__ import annotations

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite import segment

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
