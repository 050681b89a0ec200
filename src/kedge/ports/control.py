"""The control record, sessions and snapshots of one database."""

from typing import Any, Protocol

import msgspec

from kedge.errors import KedgeError
from kedge.model.artifacts import Artifact
from kedge.model.control import ControlRecord
from kedge.model.writes import Pending


class EpochMoved(KedgeError):
    """The control record has left the epoch that the caller decided on: load it, decide anew."""


class Release(msgspec.Struct, frozen=True):
    """What staging a deployment records beside the control record."""

    number: int
    name: str
    kind: str
    digest: str
    artifacts: dict[str, Artifact]
    warnings: tuple[str, ...]
    note: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """A named point."""

    name: str
    seq: int
    epoch: int
    at: float
    by: str
    deployment: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A change of the control record, with what must be recorded in the same instant."""

    record: ControlRecord
    operation: str
    kind: str
    by: str
    deployment: str | None = None
    reason: str = ""
    detail: dict[str, Any] = {}
    release: Release | None = None
    writes: tuple[Pending, ...] = ()
    snapshot: str | None = None
    drop_snapshots_of: tuple[int, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """One control change, or one step of an operation, as the journal keeps it."""

    seq: int
    epoch: int
    at: float
    operation: str
    kind: str
    deployment: str | None
    by: str
    reason: str
    detail: dict[str, Any]
    is_step: bool


class Session(msgspec.Struct, frozen=True):
    """What a session was fixed to, and when."""

    session: str
    generation: int
    seq: int
    epoch: int
    at: float
    base: frozenset[int]
    opened_with: str | None


class Position(msgspec.Struct, frozen=True):
    """A place in the journal: a seq, and the time there: one for all that a call wrote, before the next call's."""

    seq: int
    at: float


class Recorded(msgspec.Struct, frozen=True):
    """A deployment as it was staged, for ever."""

    release: Release
    at: float
    by: str


class Control(Protocol):
    """The one linearizable record of a database.

    Laws: `commit` is a compare-and-set on the epoch: it applies wholly, exactly when the stored epoch is one less
    than the new record's, else it raises `EpochMoved` and nothing has changed. An operation id that has been applied
    is not applied again: `commit` returns as if it had been. `load` sees every commit that returned before it began,
    in whatever process; `known` sees those that were made, or seen by a `load`, here.
    """

    def load(self) -> ControlRecord:
        """Return the record as it is now."""

    def known(self) -> ControlRecord | None:
        """Return the newest record that was loaded or committed here, without I/O."""

    def epoch(self) -> int:
        """Return the epoch as it is now."""

    def commit(self, change: Change) -> Entry:
        """Apply a change, once."""

    def step(
        self,
        operation: str,
        kind: str,
        *,
        deployment: str | None = None,
        by: str,
        reason: str = "",
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Journal a step of an operation; a step that is there already is left as it is."""

    def entries(self, *, limit: int | None = None, operation: str | None = None) -> list[Entry]:
        """Return control entries, the newest first; sessions only where their operation is asked for."""

    def record_at(self, seq: int) -> ControlRecord:
        """Return the record as it was when the journal stood at this seq."""

    def recorded(self) -> list[Recorded]:
        """Return every deployment ever staged, in number order."""

    def names(self) -> dict[int, str]:
        """Return the name of every deployment ever staged, by number."""

    def secret(self, name: str) -> bytes:
        """Return a value of the database's own: `database_id`, or the `header_key` that signs headers."""

    def moved_to(self) -> str | None:
        """Return where the database was moved to, or None."""

    def position(self) -> Position:
        """Return the last seq, and the time that the next entry gets at the earliest."""

    def seq_at(self, moment: float) -> int:
        """Return the greatest seq that is not later than a moment (seconds since the Unix epoch)."""

    def reclaimed(self) -> int:
        """Return the seq before which only snapshots can be read: compaction has reclaimed what was superseded."""

    def time_of(self, seq: int) -> float:
        """Return the time of the entry at, or last before, a seq."""

    def take_snapshot(self, name: str, by: str) -> Snapshot:
        """Name the point that the journal stands at."""

    def snapshots(self) -> list[Snapshot]:
        """Return the named points, the oldest first."""

    def release_snapshot(self, name: str, by: str) -> None:
        """Let go of a named point."""

    def session(self, session: str, upto: int | None = None) -> Session | None:
        """Return what a session is fixed to, or was at a seq; None where it had not appeared."""

    def standing(self, session: str) -> tuple[ControlRecord, Session | None]:
        """Return the record as it is now, and what a session was fixed to then or just before; in one statement."""

    def begin_session(
        self, session: str, epoch: int, base: frozenset[int], opened_with: str | None, *, after: int, by: str
    ) -> Session:
        """Fix what a session sees, unless another process did so first: `after` is the generation it follows."""

    def counts(self) -> dict[str, int]:
        """Return how many sessions there are, and the last seq."""
