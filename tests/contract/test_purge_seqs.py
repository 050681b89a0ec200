"""A purge takes as many seqs on each backend, whatever it reclaims."""

from __future__ import annotations

import numpy as np

import kedge


def test_a_purge_of_vectors_is_two_entries_of_the_log(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=3)
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
        with k.turn(agent="support") as turn:
            turn.vectors("kb").upsert(["a", "b"], np.eye(2, 3, dtype=np.float32))
        k.rollback("v1")
        before = k.status().seq
        k.purge("v1", confirm="v1")
        assert k.status().seq == before + 2
        assert [entry.kind for entry in k.log()][:2] == ["purge:erased", "purge"]
