"""What a turn has read, kept compactly: single writes by seq, ranges as ranges."""

from collections.abc import Iterable

import msgspec

from kedge.model.lineage import EMPTY, Lineage
from kedge.model.writes import Head, Key

_MET_MAX = 1_000


class RangeRead(msgspec.Struct, frozen=True, array_like=True):
    """A range that was read: the names of a space from a prefix on, as the journal stood at `at_seq`."""

    store: str
    space: str
    prefix: str
    at_seq: int
    limit: int | None = None


class Reads(msgspec.Struct, array_like=True):
    """All that a turn has read since it last wrote."""

    seqs: list[int] = []
    ranges: list[RangeRead] = []


def pack(reads: Reads) -> bytes:
    """Return reads as msgpack: seqs sorted, unique, each as its distance from the one before."""
    ordered = sorted(set(reads.seqs))
    gaps = [seq - before for before, seq in zip([0, *ordered], ordered, strict=False)]
    unique = list(dict.fromkeys(reads.ranges))
    return msgspec.msgpack.encode(Reads(gaps, unique))


def unpack(packed: bytes) -> Reads:
    """Return the reads that `pack` made these bytes of."""
    reads = msgspec.msgpack.decode(packed, type=Reads)
    seqs: list[int] = []
    for gap in reads.seqs:
        seqs.append(gap + (seqs[-1] if seqs else 0))
    return Reads(seqs, reads.ranges)


class ReadLog:
    """What a turn has read: the lineage that it takes on thereby, and what of it is not journaled yet."""

    def __init__(self) -> None:
        self.members: set[int] = set()
        self._seqs: set[int] = set()
        self._ranges: dict[RangeRead, None] = {}
        self._met: dict[Key, tuple[int, Lineage]] = {}

    def saw(self, heads: Iterable[Head]) -> None:
        """Take note of writes whose value, or whose delete, was read."""
        for head in heads:
            self._seqs.add(head.seq)
            if head.lineage:
                self.members |= head.lineage

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Take note of a range that was read, and of the lineages of all heads in it."""
        self._ranges[read] = None
        self.members.update(*lineages)

    def saw_call(self, seqs: Iterable[int], lineage: Lineage) -> None:
        """Take note of a call of another turn that was read."""
        self._seqs.update(seqs)
        self.members |= lineage

    def met(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put that was last known as a key's head, by its seq."""
        if len(self._met) >= _MET_MAX:
            self._met.clear()
        self._met[key] = (seq, lineage)

    def compares(self, key: Key, seq: int) -> bool:
        """Say whether this is the put that was last known as a key's head: then it counts as read, and is forgotten."""
        known, lineage = self._met.pop(key, (None, EMPTY))
        if known != seq:
            return False
        self.saw_call((seq,), lineage)
        return True

    def packed(self) -> bytes | None:
        """Return what is to be journaled, or None where that is nothing."""
        return pack(Reads(list(self._seqs), list(self._ranges))) if self._seqs or self._ranges else None

    def forget(self) -> None:
        """Forget what has been journaled, so that it is journaled once."""
        self._seqs.clear()
        self._ranges.clear()
