"""Metric samples, stamped like writes and stored outside the journal."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from kedge.model.metrics import Sample, Stored, Tally

__all__ = ["Metrics", "Sample", "Stored", "Tally"]


class Metrics(Protocol):
    """Metric samples.

    Laws: `observe` is durable when it returns, and stores nothing for a lineage that was purged, save Kedge's own
    counts. So is `store`, which stores all that can be stored or none. Samples come back in the order in which they
    were stored.
    """

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

    def store(self, samples: Sequence[Sample]) -> list[Stored]:
        """Store samples in one transaction, each idempotency key once; return what became of each."""

    def of_sessions(self, sessions: Iterable[str], metrics: Iterable[str]) -> list[Sample]:
        """Return the samples of these metrics in these sessions, the oldest first."""

    def arrived(self, metrics: Iterable[str], value: str, after: int, since: float, limit: int) -> list[Sample]:
        """Return samples of these metrics with this value (as JSON) from after a number and a moment, in order."""

    def newest(self) -> int:
        """Return the number of the newest sample, 0 where there is none."""

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""

    def counts(self, metrics: Iterable[str]) -> dict[str, tuple[int, float]]:
        """Return, of each of these metrics that has samples, how many there are and the time of the last."""

    def count(self, metric: str, since: float, limit: int) -> int:
        """Return how many of the newest samples of a metric, up to a limit, were observed since a moment."""
