"""Verification during writes: concurrent changes are not reported as faults."""

from __future__ import annotations

from typing import Any

import pytest

import kedge
from kedge.backends.postgres.verification import PostgresVerification
from kedge.backends.sqlite.verification import SqliteVerification


@pytest.mark.parametrize("store", ["context", "memory", "vectors"])
def test_a_write_between_two_looks_is_no_fault(place: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes: Any = PostgresVerification if place.startswith("postgresql") else SqliteVerification
    truths = classes._true_seqs
    looks: list[str] = []

    def interrupt(verification: Any, connection: Any, view: Any, keys: Any) -> Any:
        here = [key.name for key in keys if key.store == store]
        looks.extend(here[:1])
        if here and len(looks) in {1, 4}:  # the looks between find it at rest; 4 is at the newest row
            with other.turn(session="s", agent="clerk") as turn:
                if store == "context":
                    turn.context.put(here[0], len(looks))
                elif store == "memory":
                    turn.memory.delete(turn.memory.history()[0].seq)
                else:
                    turn.vectors("kb").upsert(here[:1], [[1, 2, 3, len(looks)]])
        return truths(verification, connection, view, keys)

    with kedge.open(place, durability="normal") as k, kedge.open(place, durability="normal") as other:
        with k.turn(session="s", agent="clerk") as turn:
            turn.context.put("busy", 0)
            turn.memory.extend([("user", str(n)) for n in range(4)])
            turn.vectors("kb").upsert(["busy"], [[1, 2, 3, 4]])
        k.deploy("v2", {"support/prompt": "bad"})
        monkeypatch.setattr(classes, "_true_seqs", interrupt)
        report = k.rollback("v2")
        assert looks
        assert report.ok, report.indicators
