"""Metric samples, stamped like writes and stored outside the journal."""

from typing import Protocol

from kedge.model.metrics import Sample, Tally

__all__ = ["Metrics", "Sample", "Tally"]


class Metrics(Protocol):
    """Metric samples.

    Laws: `observe` is durable when it returns, and stores nothing for a lineage that was purged, save Kedge's own
    counts. Samples come back in the order in which they were stored.
    """

    def observe(self, sample: Sample) -> None:
        """Store one metric sample."""

    def observations(self, metric: str) -> list[Sample]:
        """Return the samples of a metric, the oldest first."""

    def tallies(self, prefix: str) -> list[Tally]:
        """Return how often each value of each metric that begins with a prefix was stored, by agent, in that order."""
