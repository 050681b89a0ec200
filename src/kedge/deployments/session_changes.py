"""Changes of whole sessions: forks, rewinds, and their undoing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from kedge.errors import DuplicateName, InvalidValue, UnknownName
from kedge.model import session_copy as copies
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.numbers import as_integer
from kedge.model.session_copy import Kept, Place, Rewound, SessionChange, Sources
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Key
from kedge.ports.control import EpochMoved, Session
from kedge.support.display import Report, brief, count
from kedge.turns import session_assignment
from kedge.turns.kernel import Kernel

FORK, REWIND, UNDO = "fork-session", "rewind", "undo-rewind"


class SessionFork(Report, frozen=True):
    """A fork of a session: the new session, what it was forked from, and how many writes were copied."""

    session: str
    source: str
    seq: int
    writes: int

    def __str__(self) -> str:
        """Return the verdict."""
        return f"{self.session}: forked from {self.source} at seq {self.seq}; {count(self.writes, 'write')} copied"


class Rewind(Report, frozen=True):
    """A rewind of a session, or its undoing: how many keys were deleted, and how many writes were restored.

    `id` is what `undo_rewind` takes.
    """

    id: str
    session: str
    to: int
    deleted: int
    restored: int

    def __str__(self) -> str:
        """Return the verdict."""
        restored = f", {count(self.restored, 'write')} restored" if self.restored else ""
        return f"{self.session}: {count(self.deleted, 'key')} deleted{restored}"


def fork(kernel: Kernel, source: str, session: str, by: str) -> SessionFork:
    """Begin a session as a copy of another: with its view, its settings, and the writes that it sees."""
    kernel.check_fence("fork_session")
    if source == session:
        raise InvalidValue(f"cannot fork {brief(source)} into itself; give the fork another name")
    operation = kernel.backend.clock.fresh_id()
    while True:
        record, found, kept = _standing(kernel, source)
        if kernel.backend.control.session(session) is not None or kernel.backend.journal.writes_of_session(session):
            raise DuplicateName(f"a session named {session!r} exists already; fork {brief(source)} into a new one")
        found = msgspec.structs.replace(found, base=session_assignment.preview(kernel, record, source))
        change = _fork(kernel, record, found, kept, Named(operation, session, by))
        if _done(kernel, change):
            return SessionFork(session, source, copies.last_of(kept), change.count)


class Named(NamedTuple):
    """An operation on a session, and who makes it."""

    operation: str
    session: str
    by: str


def _fork(kernel: Kernel, record: ControlRecord, found: Session, kept: list[Kept], named: Named) -> SessionChange:
    copied = copies.copied(copies.visible(_view(record, found.base), kept))
    sources, last = _sources(kernel, copied), copies.last_of(kept)
    base = _base(kernel, record, Author(named.operation, person=named.by, session=named.session))

    def compose(place: Place) -> list[Batch]:
        return copies.fork_batches(named.session, copied, sources, place, base, kernel.backend.clock.fresh_id)

    settings = msgspec.structs.replace(found.settings, forked_from=(found.session, last))
    begins = msgspec.structs.replace(
        found, session=named.session, generation=1, epoch=record.epoch, settings=settings, ended=False
    )
    return SessionChange(
        operation=named.operation,
        kind=FORK,
        by=named.by,
        epoch=record.epoch,
        count=len(copied),
        compose=_with_ends({"session": named.session, "source": found.session, "seq": last}, compose),
        begins=begins,
        keys=tuple(Key(w.key.store, named.session, w.key.name) for w in copied if w.key.store != "memory"),
    )


def rewind(kernel: Kernel, session: str, to: int, by: str) -> Rewind:
    """Make a session show what it would show if nothing had been written to it after a seq."""
    to = as_integer("to", to, "the seq of the last write to keep, or 0", least=0)
    last = kernel.backend.control.position().seq
    if to > last:
        raise InvalidValue(
            f"cannot rewind {brief(session)} to seq {to}: the journal ends at seq {last}; give the seq of a message "
            "(`kedge show memory` lists them), or 0"
        )
    return _rewound(kernel, session, to, by, REWIND, lambda _: True)


def undo_rewind(kernel: Kernel, ident: str, by: str) -> Rewind:
    """Undo a rewind: what it deleted is there again, where nothing else was written meanwhile."""
    check_name("the id of the rewind", ident)
    entry = next((e for e in kernel.backend.control.entries(operation=ident) if e.kind in {REWIND, UNDO}), None)
    if entry is None:
        raise UnknownName(f"no rewind has the id {brief(ident)}; `kedge log --json` lists them, as `operation`")
    first, last = entry.detail["first"], entry.detail["last"]
    return _rewound(kernel, entry.detail["session"], first - 1, by, UNDO, lambda head: first <= head.seq <= last)


def _rewound(kernel: Kernel, session: str, to: int, by: str, kind: str, keys: Callable[[Kept], bool]) -> Rewind:
    named = Named(kernel.backend.clock.fresh_id(), session, by)
    while True:
        record, _, kept = _standing(kernel, session)
        view = _view(record, session_assignment.preview(kernel, record, session))
        wanted = copies.rewound(view, kept, to, keys)
        change = _rewind(kernel, record, wanted, named, kind)
        if _done(kernel, change):
            return Rewind(named.operation, session, to, len(wanted.deletes), len(wanted.layers))


def _rewind(kernel: Kernel, record: ControlRecord, wanted: Rewound, named: Named, kind: str) -> SessionChange:
    sources = _sources(kernel, wanted.layers)
    author = Author(named.operation, person=named.by, session=named.session, began_epoch=record.epoch)
    base = _base(kernel, record, author)

    def compose(place: Place) -> list[Batch]:
        layers = copies.restored(wanted, sources, place, base, kernel.backend.clock.fresh_id)
        return copies.deletion(wanted, base) + layers

    return SessionChange(
        operation=named.operation,
        kind=kind,
        by=named.by,
        epoch=record.epoch,
        count=len(wanted.deletes) + len(wanted.layers),
        compose=_with_ends({"session": named.session}, compose),
    )


def _done(kernel: Kernel, change: SessionChange) -> bool:
    """Make a change; return False where it has to be decided anew."""
    try:
        kernel.backend.control.change_session(change)
    except EpochMoved:
        return False
    kernel.consider_upkeep()
    return True


def _with_ends(
    detail: dict[str, Any], compose: Callable[[Place], list[Batch]]
) -> Callable[[Sequence[int], float], tuple[list[Batch], dict[str, Any]]]:
    """Return what composes batches, and the detail of their entry: the first and the last seq, too."""

    def composed(seqs: Sequence[int], at: float) -> tuple[list[Batch], dict[str, Any]]:
        ends = {"first": seqs[0], "last": seqs[-1]} if seqs else {"first": 0, "last": 0}
        return compose(Place(seqs, at)), detail | ends

    return composed


def _standing(kernel: Kernel, session: str) -> tuple[ControlRecord, Session, list[Kept]]:
    """Return the record, a session that has begun, and all writes to its memory and the spaces named after it."""
    record, found = kernel.backend.control.standing(session)
    if found is None:
        raise UnknownName(f"no session is named {brief(session)}; k.sessions() lists those that have begun")
    return (
        record,
        found,
        [_without(record.purged, write) for write in kernel.backend.journal.writes_of_session(session)],
    )


def _without(purged: Lineage, write: Kept) -> Kept:
    """Return a write without what was purged: a source write of a turn that such a deployment influenced stays."""
    if write.provenance.isdisjoint(purged):
        return write
    return msgspec.structs.replace(write, provenance=write.provenance - purged)


def _view(record: ControlRecord, base: frozenset[int]) -> View:
    return View(record.epoch, record.seen_by(base | record.externals), record.settled)


def _base(kernel: Kernel, record: ControlRecord, author: Author) -> Batch:
    now = kernel.backend.clock.now()
    return Batch(record.epoch, msgspec.structs.replace(author, began_at=now), (), settled=record.settled)


def _sources(kernel: Kernel, copied: Sequence[Kept]) -> Sources:
    """Return the turns that wrote these, those that called them, and what they read."""
    provenance = kernel.backend.provenance
    writers = provenance.writers_of([write.seq for write in copied]) if copied else {}
    turns = {turn.turn: turn for turn in provenance.callers({turn.uid for turn in writers.values()})} if writers else {}
    turns |= {turn.turn: turn for turn in writers.values()}
    return Sources(writers, list(turns.values()), provenance.reads_of(turns) if turns else {})
