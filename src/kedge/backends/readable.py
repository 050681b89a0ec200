"""Readable part of the past, for compaction and retention on both backends."""

from kedge.model.compaction import Past, Readable
from kedge.ports.control import Control


def agreed_now(control: Control, now: float) -> float:
    """Return the time by the clock or the last entry, whichever is earlier: one wrong time reclaims nothing."""
    return min(now, control.time_of(control.position().seq))


def readable_part(control: Control, seconds: float | None, now: float) -> Readable:
    """Return the part of the past that is readable if it is kept for so long; it never grows backwards."""
    seq = 0 if seconds is None else control.seq_at(agreed_now(control, now) - seconds)
    pasts = [Past(at, control.record_at(at).settled) for at in sorted({s.seq for s in control.snapshots()})]
    return Readable(Past(seq, control.record_at(seq).settled), tuple(pasts))
