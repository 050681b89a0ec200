"""An empty database whose clock a test sets forward: a module uses it by `clock, k = forward.clock, forward.k`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedge
from kedge.ports.clock import SystemClock

DAY = 86_400.0


class Clock(SystemClock):
    """A clock that runs, and that a test sets forward."""

    ahead = 0.0

    def now(self) -> float:
        """Return the time, and how far it was set forward."""
        return super().now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def k(place: str, clock: Clock) -> Iterator[kedge.Kedge]:
    with kedge.open(place, clock=clock, durability="normal") as opened:
        yield opened
