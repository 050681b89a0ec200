"""In-memory store of the simulation: control record, journal and members, in one order, by the laws of the ports."""

from collections.abc import Callable, Iterable

import msgspec

from kedge.model import transitions
from kedge.model.control import ControlRecord
from kedge.model.fleet import Standing
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.control import EpochMoved


class Write(msgspec.Struct, frozen=True):
    """One journal entry."""

    seq: int
    key: str
    lineage: Lineage
    idempotency: str


class Flip(msgspec.Struct, frozen=True):
    """A change of the control record, by its operation."""

    operation: str
    kind: str
    epoch: int


class SimStore:
    """The parts of `Control`, `Journal` and `Fleet` that the protocol uses."""

    def __init__(self, deployments: int) -> None:
        self.record = ControlRecord()
        for number in range(1, deployments + 1):
            name = f"v{number}"
            self.record = transitions.stage(self.record, name, artifacts=(), bases=(), now=0.0, by="sim")
            self.record = transitions.promote(self.record, name, now=0.0, by="sim")
        self.log: list[Flip] = []
        self.steps: set[tuple[str, str]] = set()
        self.journal: list[Write] = []
        self.rows: dict[str, Standing] = {}
        self.on_flip: Callable[[Flip], None] = lambda _: None

    # ── control ──

    def load(self) -> ControlRecord:
        """Return the record."""
        return self.record

    def commit(self, record: ControlRecord, operation: str, kind: str) -> Flip:
        """Replace the record by compare-and-set, once for each operation."""
        done = next((flip for flip in self.log if flip.operation == operation), None)
        if done is not None:
            return done
        if record.epoch != self.record.epoch + 1:
            raise EpochMoved(f"at {self.record.epoch}")
        self.record = record
        flip = Flip(operation, kind, record.epoch)
        self.log.append(flip)
        self.on_flip(flip)
        return flip

    def step(self, operation: str, kind: str) -> None:
        """Journal a step of an operation, once."""
        self.steps.add((operation, kind))

    def unfinished(self) -> list[Flip]:
        """Return the rollbacks whose last step is not journaled."""
        return [flip for flip in self.log if flip.kind == "rollback" and (flip.operation, "resumed") not in self.steps]

    def has_step(self, operation: str, kind: str) -> bool:
        """Say whether a step is journaled."""
        return (operation, kind) in self.steps

    # ── journal ──

    def append(self, view: View, key: str, lineage: Lineage, idempotency: str) -> int:
        """Append a write of a view, once for each idempotency key that it can see; return its seq."""
        self.check_epoch(view)
        for write in self.journal:
            if write.idempotency == idempotency and view.sees(write.lineage):
                return write.seq
        self.journal.append(Write(len(self.journal) + 1, key, lineage, idempotency))
        return len(self.journal)

    def head(self, view: View, key: str) -> Write | None:
        """Return the newest visible write at a key."""
        self.check_epoch(view)
        return next((w for w in reversed(self.journal) if w.key == key and view.sees(w.lineage)), None)

    def check_epoch(self, view: View) -> None:
        """Raise `EpochMoved` unless the record is at the view's epoch."""
        if view.epoch != self.record.epoch:
            raise EpochMoved(f"at {self.record.epoch}, not {view.epoch}")

    # ── fleet ──

    def refresh(self, member: Standing) -> int:
        """Record a member's report; return the epoch."""
        before = self.rows.get(member.uid)
        behind = member.epoch < self.record.epoch
        self.rows[member.uid] = msgspec.structs.replace(
            member,
            epoch=member.epoch if before is None else max(before.epoch, member.epoch),
            expired=behind if before is None else before.expired and behind,
        )
        return self.record.epoch

    def leave(self, uid: str) -> None:
        """Remove a member."""
        self.rows.pop(uid, None)

    def members(self, behind: int | None = None) -> list[Standing]:
        """Return the members in order of joining; with an epoch, those that have not acknowledged it."""
        found = [member for member in self.rows.values() if behind is None or member.epoch < behind]
        return sorted(found, key=lambda member: (member.joined_at, member.uid))

    def count_out(self, uids: Iterable[str], epoch: int) -> None:
        """Record that members hold no lease, unless they have acknowledged the epoch."""
        for uid in uids:
            row = self.rows.get(uid)
            if row is not None and row.epoch < epoch:
                self.rows[uid] = msgspec.structs.replace(row, expired=True)
