"""Copies of a session's writes: into a fork of the session, or back over what a rewind has deleted."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from kedge.errors import PastUnreadable
from kedge.model.control_log import Session
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.provenance import TurnRecord
from kedge.model.reads import RangeRead, Reads, pack
from kedge.model.stores import is_keyed_store
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Key, Pending

FreshId = Callable[[], str]


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A write as the journal keeps it. `provenance` is the lineage of its turn, also for a source write."""

    key: Key
    seq: int
    rank: int
    deleted: bool
    source: bool
    lineage: Lineage
    provenance: Lineage
    at: float
    fresh_for: float | None = None
    payload: bytes | None = None

    @property
    def place(self) -> tuple[int, int]:
        """What decides which of several writes to a key is newer."""
        return self.rank, self.seq

    def left(self, now: float) -> float | None:
        """Return what is left of its time to live for a copy that is made now: below 0 where it has expired."""
        return None if self.fresh_for is None else self.at + self.fresh_for - now


def kept_of(key: Key, row: Sequence[Any], members: Callable[[int], Lineage]) -> Kept:
    """Return a write from its row: name, seq, rank, deleted, source, lineage, provenance, at, fresh_for, payload."""
    _, seq, rank, deleted, source, lineage, provenance, at, fresh_for, payload = row
    return Kept(
        key, seq, rank, bool(deleted), bool(source), members(lineage), members(provenance), at, fresh_for, payload
    )  # fmt: skip


class SessionChange(msgspec.Struct, frozen=True):
    """Writes to the spaces of one session, with an entry in the log, in one transaction.

    `compose` makes the batches, and the detail of the entry, of the seqs of `count` writes and their time. `begins` is
    a session that must not have begun; `keys` are those of keyed stores that it writes: others may write them, too.
    """

    operation: str
    kind: str
    by: str
    epoch: int
    count: int
    compose: Callable[[Sequence[int], float], tuple[list[Batch], dict[str, Any]]]
    begins: Session | None = None
    keys: tuple[Key, ...] = ()


def last_of(kept: Iterable[Kept]) -> int:
    """Return the seq of the newest of these writes, 0 where there is none."""
    return max((write.seq for write in kept), default=0)


def visible(view: View, kept: Iterable[Kept]) -> list[Kept]:
    """Return the writes that a view sees and whose content is there, in order of seq."""
    seen = (write for write in kept if view.sees(write.lineage) and (write.deleted or write.payload is not None))
    return sorted(seen, key=lambda write: write.seq)


def layers(kept: Iterable[Kept]) -> list[Kept]:
    """Return the newest write of each lineage at each key: what any smaller view can see of them, in order of seq."""
    newest: dict[tuple[Key, Lineage], Kept] = {}
    for write in kept:
        where = write.key, write.lineage
        if where not in newest or newest[where].place < write.place:
            newest[where] = write
    return sorted(newest.values(), key=lambda write: write.seq)


def copied(kept: Iterable[Kept]) -> list[Kept]:
    """Return what a fork copies: all messages, and the layers of other keys, in order of seq."""
    messages: list[Kept] = []
    others: list[Kept] = []
    for write in kept:
        (messages if write.key.store == "memory" else others).append(write)
    return sorted([*messages, *layers(others)], key=lambda write: write.seq)


class Sources(msgspec.Struct, frozen=True):
    """Where copied writes come from: the turn that wrote each, by seq; all turns, callers included; their read logs.

    Of a delete, the turn may have been pruned.
    """

    writers: Mapping[int, TurnRecord]
    turns: Sequence[TurnRecord]
    reads: Mapping[int, Sequence[Reads]]


class Place(msgspec.Struct, frozen=True):
    """Where a change of a session is written: the seqs of its writes, and their time."""

    seqs: Sequence[int]
    at: float


def fork_batches(
    session: str, copied: Sequence[Kept], sources: Sources, place: Place, base: Batch, fresh_id: FreshId
) -> list[Batch]:
    """Return the batches that copy writes into a new session at a place; `base` has what all batches share.

    The turns are copied, too, with what they read. What they read of the session are its copies, so that each copied
    answer leads to the copy of its input; the rest, and what was not copied, stays as it was read.
    """
    seqs = place.seqs
    places = {write.seq: seq for write, seq in zip(copied, seqs, strict=True)}
    ids = {turn.uid: fresh_id() for turn in sources.turns}
    order = [write.seq for write in copied]

    def moved(read: RangeRead) -> RangeRead:
        if read.space not in origins or not (read.store == "memory" or is_keyed_store(read.store)):
            return read
        before = bisect_right(order, read.at_seq)
        at_seq = seqs[before - 1] if before else seqs[0] - 1
        return msgspec.structs.replace(read, space=session, at_seq=at_seq)

    batches: list[Batch] = []
    authors: dict[str, Author] = {}
    origins = {write.key.space for write in copied}
    for turn in sorted(sources.turns, key=lambda turn: turn.turn):
        logs = sources.reads.get(turn.turn, ())
        reads = Reads(
            [places.get(seq, seq) for log in logs for seq in log.seqs],
            [moved(read) for log in logs for read in log.ranges],
        )
        authors[turn.uid] = author = Author(
            ids[turn.uid],
            agent=turn.agent,
            person=turn.person,
            session=session,
            parent=ids.get(turn.parent or ""),
            replays=places.get(turn.replays or 0),
            began_at=base.author.began_at,
            began_epoch=base.epoch,
        )
        packed = pack(reads) if reads.seqs or reads.ranges else None
        batches.append(msgspec.structs.replace(base, author=author, reads=packed))
    pending = [
        (
            authors[sources.writers[write.seq].uid] if write.seq in sources.writers else base.author,
            write,
            Key(write.key.store, session, write.key.name),
            write.rank,
        )
        for write in copied
    ]
    return batches + _runs(pending, base, place.at)


def restored(rewind: "Rewound", sources: Sources, place: Place, base: Batch, fresh_id: FreshId) -> list[Batch]:
    """Return the batches that write the visible layers of a rewind again, over the heads, in order.

    Derived writes get turns whose caller is the turn that wrote them first: their inputs are its inputs. Source writes
    get turns of their own, so that no input is there twice.
    """
    authors: dict[tuple[str, bool], Author] = {}
    pending = []
    for write in rewind.layers:
        rank = max(write.rank, rewind.ranks[write.key])
        turn = sources.writers.get(write.seq)
        if turn is None:
            pending.append((base.author, write, write.key, rank))
            continue
        if (turn.uid, write.source) not in authors:
            authors[turn.uid, write.source] = Author(
                fresh_id(),
                agent=turn.agent,
                person=turn.person,
                session=turn.session,
                parent=None if write.source else turn.uid,
                began_at=base.author.began_at,
                began_epoch=base.epoch,
            )
        pending.append((authors[turn.uid, write.source], write, write.key, rank))
    return _runs(pending, base, place.at)


def _runs(pending: Iterable[tuple[Author, Kept, Key, int]], base: Batch, at: float) -> list[Batch]:
    """Return batches of writes that follow each other and have one author and one provenance."""
    batches = []
    for (author, provenance), run in groupby(pending, key=lambda one: (one[0], one[1].provenance)):
        writes = tuple(
            Pending(key, write.payload, write.source, write.left(at), lineage=write.lineage, rank=rank)
            for _, write, key, rank in run
        )
        batches.append(msgspec.structs.replace(base, author=author, writes=writes, lineage=provenance))
    return batches


class Rewound(msgspec.Struct, frozen=True):
    """What a rewind does to the keys of a session: it deletes the heads of some, and restores the layers of others."""

    deletes: list[Kept]
    layers: list[Kept]
    ranks: dict[Key, int]  # of the heads that restored layers replace


def rewound(view: View, kept: Iterable[Kept], to: int, keys: Callable[[Kept], bool] = lambda _: True) -> Rewound:
    """Return what makes a view of a session show what it would show if nothing had been written after seq `to`.

    Of the keys for whose visible heads `keys` returns True. Raise `PastUnreadable` where content was reclaimed.
    """
    seen = sorted((write for write in kept if view.sees(write.lineage)), key=lambda write: write.key.label)
    deletes: list[Kept] = []
    restores: list[Kept] = []
    ranks: dict[Key, int] = {}
    for _, group in groupby(seen, key=lambda write: write.key.label):
        writes = sorted(group, key=lambda write: write.place)
        head = writes[-1]
        before = [write for write in writes if write.seq <= to]
        if head.seq <= to or not keys(head):
            continue
        if not before:
            deletes += () if head.deleted else (head,)
            continue
        for write in layers(before):
            if not write.deleted and write.payload is None:
                raise PastUnreadable(
                    f"the content of {write.key.label} at seq {write.seq} was reclaimed by a retention policy; rewind "
                    "to a later seq"
                )
        restores += sorted(layers(before), key=lambda write: write.place)
        ranks[head.key] = head.rank
    return Rewound(deletes, restores, ranks)


def deletion(rewind: Rewound, base: Batch) -> list[Batch]:
    """Return the batch of deletes of a rewind: source writes at the ranks of what they delete."""
    if not rewind.deletes:
        return []
    writes = tuple(Pending(head.key, None, source=True, lineage=EMPTY, rank=head.rank) for head in rewind.deletes)
    return [msgspec.structs.replace(base, writes=writes)]
