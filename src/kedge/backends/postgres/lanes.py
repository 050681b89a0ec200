"""Lanes: rows that whoever draws seqs holds until its commit, chosen by the keys that it writes to.

They give three things at once. Writes to one key are in order of commit, since both hold the key's lane. A change of
the control record holds all lanes, so that no append commits after it at the epoch before it. And who has passed every
lane once knows that all seqs drawn before are committed or never will be: so a point in the past becomes stable.
Row locks are fair, so that neither waits for longer than the appends that were under way.
"""

from collections.abc import Iterable
from zlib import crc32

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.writes import Batch

_SQL = queries("lanes")
ALL = tuple(range(64))


def lane_of(*names: str) -> int:
    """Return the lane of a key, or of anything else that has a name."""
    return crc32("\0".join(names).encode()) % len(ALL)


def lanes_of(batch: Batch) -> tuple[int, ...]:
    """Return the lanes of all that a batch must have to itself."""
    found = set() if batch.idempotency is None else {lane_of("idempotency", batch.idempotency)}
    for write in batch.writes:
        key = write.key
        found.add(lane_of(key.store, key.space, key.name))
        if len(found) == len(ALL):
            break
    return tuple(sorted(found)) or (0,)


def lock(link: Link, lanes: Iterable[int], seconds: int | None = None) -> None:
    """Wait for these lanes, and hold them until the transaction ends: after so many seconds at the latest."""
    if seconds is None:
        link.send(_SQL["lock"], list(lanes))
    else:
        link.send(_SQL["lock_for"], list(lanes), f"{seconds}s")


def pass_all(link: Link) -> None:
    """Wait until all that drew seqs before now has ended; hold up nobody."""
    free = {row[0] for row in _passed(link, "free")}
    for lane in ALL:
        if lane not in free:
            _passed(link, "pass", lane)


def _passed(link: Link, statement: str, *parameters: int) -> list[tuple[int]]:
    """Return lanes that were held for an instant: let go by a rollback, which waits for no disk and for no standby."""
    link.send(b"BEGIN")
    held = link.send(_SQL[statement], *parameters)
    link.send(b"ROLLBACK")
    link.wait()
    return held.fetchall()
