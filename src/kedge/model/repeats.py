"""Idempotency keys: the answer to a call that is repeated."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from kedge.errors import IdempotencyMismatch
from kedge.model.lineage import Lineage, union
from kedge.model.visibility import View
from kedge.model.writes import Batch, digest

Members = Callable[[int], Lineage]  # the set behind the id of a lineage
SpaceId = Callable[[str, str], int | None]


class Done(msgspec.Struct, frozen=True, gc=False):
    """A write of the earlier call; `space` is an id; a write without a salt was erased."""

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


def visible_calls(view: View, calls: Iterable[tuple[Any, int]], members: Members) -> list[Any]:
    """Return the seqs of each call, of (seqs, lineage), that a view sees; they are never empty."""
    return [seqs for seqs, lineage in calls if view.sees(members(lineage))]


def decode_call(view: View, rows: Sequence[Any], members: Members) -> Call:
    """Return a call from the rows of its writes: seq, lineage, turn."""
    lineages = (members(lineage) for _, lineage, _ in rows)
    return Call(rows[0][2], [seq for seq, _, _ in rows], union(filter(view.sees, lineages)))


def repeated(batch: Batch, calls: Iterable[Iterable[Any]], members: Members, space_id: SpaceId) -> Call | None:
    """Return the call that a batch repeats, or None where there is none with its key.

    The newest call of the same content counts, then the newest whose content was erased since. Raise
    `IdempotencyMismatch` where the content of every call differs, or a rollback hid a part of the one repeated. Calls
    are the rows of their writes (seq, space, name, digest, salt, source, lineage, turn), the newest call first.
    """
    view = View(batch.epoch, batch.seen, batch.settled)
    erased: list[Done] | None = None
    newest, hidden = 0, 0
    for rows in calls:
        done = [
            Done(seq, space, name, content, salt, bool(source), members(lineage), turn)
            for seq, space, name, content, salt, source, lineage, turn in rows
        ]
        newest = newest or done[0].seq
        is_same = True if batch.first_wins else _is_same(batch, done, space_id)
        if is_same is False:
            continue
        if not all(view.sees(write.lineage) for write in done):
            hidden = hidden or done[0].seq
        elif is_same:
            return _call(done)
        elif erased is None:
            erased = done
        if batch.first_wins:
            break
    if erased is not None:
        return _call(erased)
    if hidden:
        raise IdempotencyMismatch(
            f"a rollback hid some of the writes made with the idempotency key {batch.idempotency!r}, at seq {hidden}; "
            "repeat the hidden ones with a fresh key"
        )
    if newest:
        raise IdempotencyMismatch(
            f"the idempotency key {batch.idempotency!r} was used for another write, at seq {newest}; "
            "use a fresh key for each different call"
        )
    return None


def _call(done: Sequence[Done]) -> Call:
    return Call(done[0].turn, [write.seq for write in done], union(write.lineage for write in done))


def _is_same(batch: Batch, done: Sequence[Done], space_id: SpaceId) -> bool | None:
    """Return whether a call wrote what a batch writes; None where its content was erased, and all else agrees."""
    if batch.compared is None and len(done) != len(batch.writes):
        return False
    is_erased = False
    for write, vector, before in islice(zip(batch.writes, batch.vector_rows(), done, strict=False), batch.compared):
        is_same_key = before.space == space_id(write.key.store, write.key.space) and (
            not write.key.name or before.name == write.key.name
        )
        if not is_same_key or before.source != write.source:
            return False
        if before.salt is None:
            is_erased = True
        elif digest(before.salt, write.payload, vector) != before.digest:
            return False
    return None if is_erased else True
