"""Appends: the rows of a batch, its preconditions, and the answer to a repeated call."""

from collections.abc import Callable, Iterable

import msgspec

from kedge.errors import KedgeError, RolledBack
from kedge.model.lineage import Lineage
from kedge.model.repeats import Call
from kedge.model.writes import Batch, Key, Pending, Row, memory_name

TICK_SECONDS = 1e-6  # the resolution of a datetime: entries are at least this far apart


class HeadMoved(KedgeError):
    """The head is no longer the write that the caller compared with: read it again, decide anew."""


class Appended(msgspec.Struct, frozen=True):
    """The seqs of a batch's writes. `repeats`: the earlier call with its idempotency key, which these are of."""

    seqs: list[int]
    repeats: Call | None = None


def rows_of(
    batch: Batch,
    seqs: Iterable[int],
    stamp: int,
    space_id: Callable[[str, str], int],
    lineage_id: Callable[[Lineage], int],
) -> list[Row]:
    """Return the rows of a batch at these seqs; `stamp` is the id of its lineage."""
    place: Key | None = None
    space, is_new = 0, False
    rows = []
    for seq, write in zip(seqs, batch.writes, strict=True):
        key = write.key
        if key is not place:  # the messages of a batch share one
            if place is None or (key.store, key.space) != (place.store, place.space):
                space = space_id(key.store, key.space)
            is_new = not key.name and key.store == "memory"
            place = key
        rank = batch.rank if write.rank is None else write.rank
        rank = seq if rank is None else rank
        if is_new:
            key = Key(key.store, key.space, memory_name(rank, seq))
        own = 0 if write.source else stamp
        lineage = own if write.lineage is None else lineage_id(write.lineage)
        rows.append(Row(seq, space, key, lineage, rank, write.payload is None, is_new))
    return rows


def check_head(write: Pending, found: int) -> None:
    """Raise `HeadMoved` unless the head of a write's key is the one that it expects; 0 stands for none."""
    if found != write.expect:
        raise HeadMoved(f"the head of {write.key.name!r} is seq {found}, not {write.expect}")


def check_newest(newest: tuple[str, int], found: int) -> None:
    """Raise `HeadMoved` unless the newest visible message of a session is the one that a batch expects."""
    session, expected = newest
    if found != expected:
        raise HeadMoved(f"the newest message of {session!r} is seq {found}, not {expected}")


def check_not_purged(lineage: Lineage, purged: Lineage) -> None:
    """Raise `RolledBack` for the lineage of a write that holds purged deployments."""
    gone = lineage & purged
    if gone:
        raise RolledBack(f"the lineage of this write holds the purged deployments {sorted(gone)}; begin a new turn", ())


def call_lineage(batch: Batch, stamp: int) -> int:
    """Return the id of the lineage that a view must see to be answered with this call when it is repeated."""
    return 0 if any(write.source for write in batch.writes) else stamp
