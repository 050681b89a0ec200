"""Control: the control record, its log, sessions and snapshots of one database."""

from collections.abc import Iterable
from typing import Any, Protocol

from kedge.model.control import ControlRecord
from kedge.model.control_log import (
    Change,
    Entry,
    EpochMoved,
    Position,
    Recorded,
    Release,
    Session,
    SessionFilter,
    Snapshot,
)
from kedge.model.session_copy import SessionChange
from kedge.model.session_settings import DEFAULTS, SessionSettings
from kedge.model.unfinished import Wanted

__all__ = [
    "Change",
    "Control",
    "Entry",
    "EpochMoved",
    "Position",
    "Recorded",
    "Release",
    "Session",
    "SessionFilter",
    "Snapshot",
]


class Control(Protocol):
    """The one linearizable record of a database.

    Laws: `commit` is an atomic compare-and-set on the epoch: it applies exactly when the stored epoch is one less than
    the new record's, else it raises `EpochMoved` and changes nothing. An operation id is applied once: a second
    `commit` returns the first one's entry. `load` sees every commit, of any process, that returned before it began;
    `known` sees those that this process made or loaded.
    """

    def load(self) -> ControlRecord:
        """Return the current record."""

    def known(self) -> ControlRecord | None:
        """Return the newest record that was loaded or committed here, without I/O."""

    def epoch(self) -> int:
        """Return the current epoch."""

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
        """Log a step of an operation, once."""

    def entries(self, *, limit: int | None = None, operation: str | None = None) -> list[Entry]:
        """Return control entries, newest first; those of sessions, and looks at launches, only by their operation."""

    def unfinished(self) -> list[tuple[Entry, Wanted]]:
        """Return the changes whose last step is not in the log, the oldest first, and what must follow each.

        The cost does not grow with the log, once older processes cannot write.
        """

    def record_at(self, seq: int) -> ControlRecord:
        """Return the record as of a seq."""

    def newest_change(self, kind: str | None = None) -> Entry | None:
        """Return the newest change, of a kind or of any, without steps; None where only the creation is there."""

    def entries_of(self, deployments: Iterable[str], kinds: Iterable[str] | None = None) -> list[Entry]:
        """Return the changes of these deployments, of these kinds or all, without steps, newest first."""

    def steps(self, kinds: Iterable[str], *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the steps of these kinds after a seq, up to a limit, newest first.

        The cost grows with the entries after that seq, save those of sessions: give it where the log is long.
        """

    def recorded(self, numbers: Iterable[int] | None = None) -> list[Recorded]:
        """Return deployments, of those ever staged these or all, in order of number."""

    def names(self, numbers: Iterable[int] | None = None) -> dict[int, str]:
        """Return the names of deployments by number, of those ever staged these or all."""

    def number_of(self, name: str) -> int | None:
        """Return the number of a deployment, whatever its status, or None."""

    def incarnations(self, name: str) -> dict[str, int]:
        """Return the numbers of all deployments named `name` or `name#…`, by name."""

    def peers(self) -> dict[int, str]:
        """Return the names of all incarnations of all peers, by number."""

    def count_peers(self) -> int:
        """Return how many peers are registered; further incarnations of one, and `unknown`, do not count."""

    def secret(self, name: str) -> bytes:
        """Return `database_id`, or the `header_key` that signs headers."""

    def moved_to(self) -> str | None:
        """Return the address that the database was moved to, or None."""

    def position(self) -> Position:
        """Return the last seq, and the earliest time of the next entry."""

    def seq_at(self, moment: float) -> int:
        """Return the greatest seq whose time is not later than `moment` (seconds since the Unix epoch)."""

    def time_of(self, seq: int) -> float:
        """Return the time of the last entry up to a seq."""

    def take_snapshot(self, name: str, by: str) -> Snapshot:
        """Name the current position."""

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""

    def release_snapshot(self, name: str, by: str) -> None:
        """Remove a snapshot."""

    def session(self, session: str, upto: int | None = None) -> Session | None:
        """Return a session, now or as of a seq; None where it had not begun."""

    def sessions(self, chosen: SessionFilter, after: str | None, limit: int) -> list[Session]:
        """Return up to `limit` sessions as they stand, in order of name, from the one after `after` on."""

    def sessions_named(self, names: Iterable[str]) -> dict[str, Session]:
        """Return those of these sessions that have begun, by name."""

    def standing(self, session: str) -> tuple[ControlRecord, Session | None]:
        """Return the current record and a session, in one statement."""

    def begin_session(
        self,
        session: str,
        epoch: int,
        base: frozenset[int],
        opened_with: str | None,
        *,
        after: int,
        by: str,
        settings: SessionSettings = DEFAULTS,
        ended: bool = False,
    ) -> Session:
        """Fix what a session sees, unless another process has done so: `after` is the previous generation."""

    def change_session(self, change: SessionChange) -> None:
        """Make a change to the spaces of a session, once: all of it or nothing. See `SessionChange`.

        Raise `EpochMoved` where the record has left its epoch, `DuplicateName` where the session that it begins has.
        """

    def counts(self) -> dict[str, int]:
        """Return how many sessions there are, and the last seq."""
