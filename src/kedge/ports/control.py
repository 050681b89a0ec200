"""Control: the control record, its log, sessions and snapshots of one database."""

from typing import Any, Protocol

from kedge.model.control import ControlRecord
from kedge.model.control_log import Change, Entry, EpochMoved, Position, Recorded, Release, Session, Snapshot

__all__ = ["Change", "Control", "Entry", "EpochMoved", "Position", "Recorded", "Release", "Session", "Snapshot"]


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
