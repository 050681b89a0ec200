"""Expiry of level entries: by a recorded change, on the database's time."""

from kedge.model import entries, transitions
from kedge.model.control import ControlRecord
from kedge.model.ladder import LevelEntry, logged
from kedge.ports.control import Change
from kedge.turns.kernel import Kernel

EXPIRE = "expire"
BY = "expiry"  # who removes what has expired, in the log


def has_due(kernel: Kernel) -> bool:
    """Return whether an entry has expired, by the newest record and the clock of this process, without I/O."""
    record = kernel.backend.control.known()
    return record is not None and bool(entries.due(record, kernel.backend.clock.now()))


def expire_due(kernel: Kernel) -> list[LevelEntry]:
    """Remove the entries that have expired by the database's time, in one change; return them."""
    if all(entry.expires is None for entry in kernel.backend.control.load().entries):
        return []
    now, operation = kernel.backend.control.position().at, kernel.backend.clock.fresh_id()
    if not entries.due(kernel.backend.control.load(), now):
        return []
    gone: tuple[LevelEntry, ...] = ()

    def decide(record: ControlRecord) -> Change:
        nonlocal gone
        gone = entries.due(record, now)
        after = entries.without(transitions.next_epoch(record), gone)
        return Change(after, operation, EXPIRE, BY, detail={"entries": [logged(entry) for entry in gone]})

    kernel.change(decide)
    return list(gone)
