"""What a call is answered whose idempotency key was used before."""

from collections.abc import Callable, Sequence

import msgspec

from kedge.errors import IdempotencyMismatch
from kedge.model.lineage import Lineage, union
from kedge.model.visibility import View
from kedge.model.writes import Batch, digest


class Done(msgspec.Struct, frozen=True, gc=False):
    """A write of the call that came before: its space by id; without a salt it was purged."""

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


def repeated(batch: Batch, done: Sequence[Done], space_id: Callable[[str, str], int | None]) -> Call:
    """Return the call that came before, or raise `IdempotencyMismatch` where it was another, or is hidden."""
    view = View(batch.epoch, batch.seen, batch.settled)
    key, seq = batch.idempotency, done[0].seq
    if not all(view.sees(write.lineage) for write in done):
        raise IdempotencyMismatch(
            f"of the writes made with the idempotency key {key!r}, at seq {seq}, a rollback hid some; "
            "repeat the hidden ones with a fresh key"
        )
    if not batch.first_wins and not _is_same(batch, done, space_id):
        raise IdempotencyMismatch(
            f"the idempotency key {key!r} was used for another write, at seq {seq}; "
            "use a fresh key for each different call"
        )
    return Call(done[0].turn, [write.seq for write in done], union(write.lineage for write in done))


def _is_same(batch: Batch, done: Sequence[Done], space_id: Callable[[str, str], int | None]) -> bool:
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
