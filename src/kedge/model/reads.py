"""What a turn has read, kept compactly: single writes by seq, ranges as ranges."""

import msgspec


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
