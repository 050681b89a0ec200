"""Visibility: which writes a view sees, and which of them is the head of a key."""

from collections.abc import Iterable

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.stores import REPLAYED, is_keyed_store
from kedge.model.writes import Head

SEQ_MAX = 2**63 - 1


class View(msgspec.Struct, frozen=True):
    """What a reader sees: deployments by number, as of one epoch, optionally up to a seq (inclusive).

    A turn that replays an input reads up to the input's rank (inclusive): what was written when the input came.
    """

    epoch: int
    seen: frozenset[int]
    settled: frozenset[int]
    upto: int | None = None
    upto_rank: int | None = None

    def sees(self, lineage: Lineage) -> bool:
        """Return whether a write of this lineage is visible; its seq is not compared."""
        return lineage - self.seen <= self.settled

    def bounds(self, store: str) -> tuple[int, int] | None:
        """Return the greatest seq and rank that this view reads in a store, or None where there is no bound.

        A replay reads today's artifacts and vectors: they have no bound.
        """
        if self.upto is not None:
            return self.upto, self.upto
        if self.upto_rank is not None and (store in REPLAYED or is_keyed_store(store)):
            return SEQ_MAX, self.upto_rank
        return None


def newest(heads: Iterable[Head]) -> Head | None:
    """Return the head among visible writes to one key: the greatest (rank, seq) wins."""
    return max(heads, key=lambda head: (head.rank, head.seq), default=None)
