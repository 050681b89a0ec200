"""The one rule of what a reader sees, and the head that follows from it."""

from collections.abc import Iterable

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.writes import Head


class View(msgspec.Struct, frozen=True):
    """What a reader sees: deployments by number, as of one epoch, optionally up to a seq (inclusive)."""

    epoch: int
    seen: frozenset[int]
    settled: frozenset[int]
    upto: int | None = None

    def sees(self, lineage: Lineage) -> bool:
        """Say whether a write of this lineage is visible, its seq aside."""
        return lineage - self.seen <= self.settled


def newest(heads: Iterable[Head]) -> Head | None:
    """Return the head among visible writes to one key: the greatest (rank, seq) wins."""
    return max(heads, key=lambda head: (head.rank, head.seq), default=None)
