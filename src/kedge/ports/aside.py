"""What is kept beside the journal, stamped alike: metric samples and cached results."""

from typing import Any, Protocol

import msgspec

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.visibility import View


class Sample(msgspec.Struct, frozen=True):
    """One observation of a metric: a JSON scalar, with the session's deployments."""

    metric: str
    value: Any
    at: float
    session: str | None = None
    agent: str | None = None
    lineage: Lineage = EMPTY
    seen: frozenset[int] = EMPTY


class Tally(msgspec.Struct, frozen=True):
    """How often an agent's turns met with something: the metric, its value, how many times, and the last time."""

    metric: str
    agent: str | None
    value: Any
    count: int
    last_at: float


class Cached(msgspec.Struct, frozen=True):
    """A cache entry that a view may use."""

    payload: bytes
    lineage: Lineage
    at: float


class Aside(Protocol):
    """Samples and cache. A cache entry is returned only to views that see its lineage; it may vanish at any time.

    `cached` raises `EpochMoved` if the control record has left the view's epoch.
    """

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""

    def cached(self, view: View, key: bytes, now: float) -> Cached | None:
        """Return the newest entry of a key that the view sees and that has not expired."""

    def cache(self, key: bytes, payload: bytes, lineage: Lineage, now: float, ttl: float | None) -> None:
        """Keep an entry, and drop expired and then the oldest ones beyond the size cap."""
