"""Lanes: row locks, by key hash, that order concurrent writers.

A transaction that draws seqs holds the lanes of its keys until it ends. This gives three guarantees:

- Writes to one key commit in the order of their seqs: both hold the lane of the key.
- A change of the control record holds all lanes: no append commits after it at the earlier epoch.
- A transaction that has locked every lane once knows that all seqs drawn before are committed or rolled back.
  So a point in the past becomes stable.

Row locks are granted in order of request: each waits only for the transactions before it.
"""

from collections.abc import Iterable
from zlib import crc32

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.writes import Batch

_SQL = queries("lanes")
ALL = tuple(range(64))


def lane_of(*names: str) -> int:
    """Return the lane of a key, or of any other name."""
    return crc32("\0".join(names).encode()) % len(ALL)


def lanes_of(batch: Batch) -> tuple[int, ...]:
    """Return the lanes that a batch locks: of its keys and of its idempotency key."""
    found = set() if batch.idempotency is None else {lane_of("idempotency", batch.idempotency)}
    for write in batch.writes:
        key = write.key
        found.add(lane_of(key.store, key.space, key.name))
        if key.store == "memory":  # what a session's newest message is, changes under one lane
            found.add(lane_of(key.store, key.space, ""))
        if len(found) == len(ALL):
            break
    return tuple(sorted(found)) or (0,)


def lock(link: Link, lanes: Iterable[int], seconds: int | None = None) -> None:
    """Lock lanes until the transaction ends; with `seconds`, the server then ends it after that time."""
    if seconds is None:
        link.send(_SQL["lock"], list(lanes))
    else:
        link.send(_SQL["lock_for"], list(lanes), f"{seconds}s")


def pass_all(link: Link) -> None:
    """Wait until every transaction that drew seqs before now has ended, without blocking new ones."""
    free = {row[0] for row in _passed(link, "free")}
    for lane in ALL:
        if lane not in free:
            _passed(link, "pass", lane)


def _passed(link: Link, statement: str, *parameters: int) -> list[tuple[int]]:
    """Lock lanes and release them by a rollback, which waits for no disk and no standby; return the lanes."""
    link.send(b"BEGIN")
    held = link.send(_SQL[statement], *parameters)
    link.send(b"ROLLBACK")
    link.wait()
    return held.fetchall()
