"""Metric samples, stamped like writes and kept outside the journal."""

from typing import Any, Protocol

import msgspec

from kedge.model.lineage import EMPTY, Lineage


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


class Metrics(Protocol):
    """Metric samples.

    Laws: `observe` is durable when it returns. Samples come back in the order in which they were stored.
    """

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
