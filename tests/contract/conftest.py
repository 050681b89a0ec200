"""A database with a clock that the test moves. `durability="normal"`: power cuts are not tested here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import kedge

MONDAY = 1_700_000_000.0


class HandClock:
    """Time stands until the test moves it on; names are counted."""

    def __init__(self) -> None:
        self.time = MONDAY
        self._ids = itertools.count(1)

    def now(self) -> float:
        return self.time

    def fresh_id(self) -> str:
        return f"{next(self._ids):032x}"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def k(place: str, clock: HandClock) -> Iterator[kedge.Kedge]:
    """Open a fresh database with a collection and one settled release."""
    with kedge.open(place, durability="normal", clock=clock) as opened:
        opened.collection("kb", dim=3)
        opened.deploy("base", {"support/prompt": "hello", "shared/embedder": {"name": "e1", "dim": 3}})
        opened.promote("base")
        opened.settle("base")
        yield opened


@contextmanager
def canaried(place: str) -> Iterator[kedge.Kedge]:
    """Open a new database in which v1 is live and v2 is the canary of every session."""
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("v1", {"support/prompt": "one"})
        opened.promote("v1")
        opened.deploy("v2", {"support/prompt": "two"}, canary=1.0)
        yield opened
