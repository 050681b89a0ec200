"""Read log of a turn: single writes by seq, ranges as ranges."""

from collections.abc import Iterable

import msgspec

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.writes import Head, Key

_MET_MAX = 1_000


class RangeRead(msgspec.Struct, frozen=True, array_like=True):
    """A range that was read: the names of a space that begin with a prefix, as of `at_seq`.

    A limited read covers only those from `low` on and before `high` (None: no bound).
    """

    store: str
    space: str
    prefix: str
    at_seq: int
    limit: int | None = None
    low: str = ""
    high: str | None = None


class Reads(msgspec.Struct, array_like=True):
    """What a turn has read since its last write."""

    seqs: list[int] = []
    ranges: list[RangeRead] = []


def pack(reads: Reads) -> bytes:
    """Return reads as msgpack: seqs are sorted, unique and delta-encoded."""
    ordered = sorted(set(reads.seqs))
    gaps = [seq - before for before, seq in zip([0, *ordered], ordered, strict=False)]
    unique = list(dict.fromkeys(reads.ranges))
    return msgspec.msgpack.encode(Reads(gaps, unique))


def unpack(packed: bytes) -> Reads:
    """Return the reads that `pack` encoded."""
    reads = msgspec.msgpack.decode(packed, type=Reads)
    seqs: list[int] = []
    for gap in reads.seqs:
        seqs.append(gap + (seqs[-1] if seqs else 0))
    return Reads(seqs, reads.ranges)


class ReadLog:
    """What a turn has read: the lineage that this gives it, and what is not journaled yet.

    Each change is one operation on a set or a dict, so that threads can share it. The lineage comes first: a commit of
    another thread that journals a read is stamped with it.
    """

    def __init__(self) -> None:
        self.members: set[int] = set()
        self._seqs: set[int] = set()
        self._ranges: dict[RangeRead, None] = {}
        self._met: dict[Key, tuple[int, Lineage]] = {}

    def saw(self, heads: Iterable[Head]) -> None:
        """Record writes that were read, deletes included."""
        for head in heads:
            if head.lineage:
                self.members |= head.lineage
            self._seqs.add(head.seq)

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Record a range that was read, with the lineages of all heads in it."""
        self.members.update(*lineages)
        self._ranges[read] = None

    def saw_call(self, seqs: Iterable[int], lineage: Lineage) -> None:
        """Record a call of another turn that was read."""
        self.members |= lineage
        self._seqs.update(seqs)

    def join(self, lineage: Lineage) -> None:
        """Add the lineage of something read that is not in the journal."""
        self.members |= lineage

    def met(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put that was last known as a key's head, by its seq."""
        if len(self._met) >= _MET_MAX:
            self._met.clear()
        self._met[key] = (seq, lineage)

    def compares(self, key: Key, seq: int) -> bool:
        """Return whether this is the known head of a key; it then counts as read and is forgotten."""
        known, lineage = self._met.pop(key, (None, EMPTY))
        if known != seq:
            return False
        self.saw_call((seq,), lineage)
        return True

    def pending(self) -> Reads | None:
        """Return a copy of the reads that are not journaled yet, or None."""
        return Reads(list(self._seqs), list(self._ranges)) if self._seqs or self._ranges else None

    def forget(self, journaled: Reads) -> None:
        """Forget these reads, which have been journaled; others may have come meanwhile."""
        self._seqs.difference_update(journaled.seqs)
        for read in journaled.ranges:
            self._ranges.pop(read, None)
