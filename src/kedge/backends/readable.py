"""Readable part of the past, for compaction on both backends."""

from kedge.model.compaction import Past, Readable
from kedge.ports.control import Control


def readable_part(control: Control, seconds: float | None, now: float) -> Readable:
    """Return the part of the past that is readable if it is kept for so long; it never grows backwards.

    It is measured from the clock or the last entry, whichever is earlier: one wrong time reclaims nothing.
    """
    earliest = min(now, control.time_of(control.position().seq))
    seq = 0 if seconds is None else control.seq_at(earliest - seconds)
    pasts = [Past(at, control.record_at(at).settled) for at in sorted({s.seq for s in control.snapshots()})]
    return Readable(Past(seq, control.record_at(seq).settled), tuple(pasts))
