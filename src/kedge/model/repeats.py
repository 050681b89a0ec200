"""Idempotency keys: the answer to a call that is repeated."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from kedge.errors import IdempotencyMismatch
from kedge.model.lineage import Lineage, union
from kedge.model.visibility import View
from kedge.model.writes import Batch, digest

Members = Callable[[int], Lineage]  # the set behind the id of a lineage
SpaceId = Callable[[str, str], int | None]


class Done(msgspec.Struct, frozen=True, gc=False):
    """A write of the earlier call; `space` is an id; a write without a salt was purged."""

    seq: int
    space: int
    name: str
    digest: bytes
    salt: bytes | None
    source: bool
    lineage: Lineage
    turn: str


class Call(msgspec.Struct, frozen=True):
    """What a call with an idempotency key wrote, as a view sees it: whose turn, which seqs, under which lineages."""

    turn: str
    seqs: list[int]
    lineage: Lineage


def first_visible(view: View, calls: Iterable[tuple[Any, int]], members: Members) -> Any | None:
    """Return the seqs of the first call, of (seqs, lineage), that a view sees; they are never empty."""
    return next((seqs for seqs, lineage in calls if view.sees(members(lineage))), None)


def decode_call(view: View, rows: Sequence[Any], members: Members) -> Call:
    """Return a call from the rows of its writes: seq, lineage, turn."""
    lineages = (members(lineage) for _, lineage, _ in rows)
    return Call(rows[0][2], [seq for seq, _, _ in rows], union(filter(view.sees, lineages)))


def repeated(batch: Batch, rows: Iterable[Any], members: Members, space_id: SpaceId) -> Call:
    """Return the earlier call; raise `IdempotencyMismatch` where its content differs, or a rollback hid a part of it.

    The rows are its writes: seq, space, name, digest, salt, source, lineage, turn.
    """
    done = [
        Done(seq, space, name, content, salt, bool(source), members(lineage), turn)
        for seq, space, name, content, salt, source, lineage, turn in rows
    ]
    view = View(batch.epoch, batch.seen, batch.settled)
    key, seq = batch.idempotency, done[0].seq
    if not all(view.sees(write.lineage) for write in done):
        raise IdempotencyMismatch(
            f"a rollback hid some of the writes made with the idempotency key {key!r}, at seq {seq}; "
            "repeat the hidden ones with a fresh key"
        )
    if not batch.first_wins and not _is_same(batch, done, space_id):
        raise IdempotencyMismatch(
            f"the idempotency key {key!r} was used for another write, at seq {seq}; "
            "use a fresh key for each different call"
        )
    return Call(done[0].turn, [write.seq for write in done], union(write.lineage for write in done))


def _is_same(batch: Batch, done: Sequence[Done], space_id: SpaceId) -> bool:
    vectors = [b""] * len(batch.writes) if batch.vectors is None else batch.vectors.split()
    if len(done) != len(batch.writes):
        return False
    for write, vector, before in zip(batch.writes, vectors, done, strict=True):
        is_same_key = before.space == space_id(write.key.store, write.key.space) and (
            not write.key.name or before.name == write.key.name
        )
        if not is_same_key or before.source != write.source or before.salt is None:
            return False
        if digest(before.salt, write.payload, vector) != before.digest:
            return False
    return True
