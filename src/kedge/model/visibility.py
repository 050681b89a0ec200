"""The one rule of what a reader sees, and the head that follows from it."""

from collections.abc import Iterable, Mapping

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.writes import Head

SEQ_MAX = 2**63 - 1
_REPLAYED = frozenset({"documents", "memory", "context"})


class View(msgspec.Struct, frozen=True):
    """What a reader sees: deployments by number, as of one epoch, optionally up to a seq (inclusive).

    A turn that replays an input reads up to its rank (inclusive): what was said and known when the input came.
    """

    epoch: int
    seen: frozenset[int]
    settled: frozenset[int]
    upto: int | None = None
    upto_rank: int | None = None

    def sees(self, lineage: Lineage) -> bool:
        """Say whether a write of this lineage is visible, its seq aside."""
        return lineage - self.seen <= self.settled

    def bounds(self, store: str) -> tuple[int, int] | None:
        """Return the greatest seq and rank that this view reads in a store, or None where there is no bound.

        A replay runs on the artifacts and vectors of today.
        """
        if self.upto is not None:
            return self.upto, self.upto
        if self.upto_rank is not None and store in _REPLAYED:
            return SEQ_MAX, self.upto_rank
        return None


def newest(heads: Iterable[Head]) -> Head | None:
    """Return the head among visible writes to one key: the greatest (rank, seq) wins."""
    return max(heads, key=lambda head: (head.rank, head.seq), default=None)


def standing(
    entries: Iterable[tuple[int, int, int]], members: Mapping[int, Lineage]
) -> dict[int, tuple[int, ...] | None]:
    """Return for each entry (rank, seq, lineage) of one key, by lineage, the lineages that supersede it.

    None stands for one that a newer entry hides in every view that sees it.
    """
    found: dict[int, tuple[int, ...] | None] = {}
    above: list[int] = []
    for _, _, lineage in sorted(entries, reverse=True):
        is_dominated = any(members[other] <= members[lineage] for other in above)
        found[lineage] = None if is_dominated else tuple(above)
        if not is_dominated:
            above.append(lineage)
    return found
