"""Purged data stays erased, even if a turn was in progress."""

from __future__ import annotations

import pytest

import kedge
from kedge.errors import RolledBack
from tests.databases import raw_rows


def test_a_turn_under_way_does_not_cache_what_was_purged(k: kedge.Kedge, place: str) -> None:
    k.deploy("v2", {"support/prompt": "worse"})
    k.promote("v2")

    def compute() -> str:
        k.rollback("v2")
        k.purge("v2", confirm="v2")
        return "made by v2"

    with k.turn(agent="support") as turn:
        assert turn.cache.get_or_compute("answer", compute) == "made by v2"
        with pytest.raises(RolledBack):
            turn.context.get("anything")
    assert raw_rows(place, "SELECT payload FROM cache") == []
