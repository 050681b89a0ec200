"""Control record of a SQLite database, its log, deployments, sessions and snapshots."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kedge.backends.readable import readable_part
from kedge.backends.record_cache import DecodedRecord, RecordCache
from kedge.backends.sqlite import unfinished
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import SqliteJournal, next_position
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.errors import OutcomeUnknown
from kedge.model import control_log, record_format, transitions
from kedge.model.checks import is_name
from kedge.model.compaction import Readable
from kedge.model.control import ControlRecord
from kedge.model.control_log import (
    Change,
    Entry,
    NewEntry,
    Position,
    Recorded,
    Release,
    Session,
    SessionFilter,
    Snapshot,
)
from kedge.model.moments import seq_at
from kedge.model.session_copy import SessionChange
from kedge.model.session_settings import DEFAULTS, SessionSettings
from kedge.model.unfinished import Wanted
from kedge.model.upgrade import FEATURES_SINCE
from kedge.model.visibility import SEQ_MAX
from kedge.model.writes import prefix_end
from kedge.ports.clock import Clock
from kedge.support.failpoints import reach

_SQL = queries("control")


class SqliteControl:
    """The control record of one SQLite database."""

    def __init__(self, database: Database, journal: SqliteJournal, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._known = RecordCache()
        self._decoded = DecodedRecord()
        with database.connection() as connection:
            database.check_here(connection)
        if not database.read_only:
            self._create()

    def _create(self) -> None:
        with self._database.connection() as connection:
            if connection.execute(_SQL["load"]).fetchone() is not None:
                return
        with self._database.writing("create") as connection:
            self._database.check_here(connection)
            if connection.execute(_SQL["create"], (control_log.CREATED.record,)).rowcount:
                log_in(connection, next_position(connection, self._clock), 0, control_log.CREATED)

    # ── the record ──

    def load(self) -> ControlRecord:
        """Return the current record."""
        return self._known.at(self.epoch()) or self._load()

    def _load(self) -> ControlRecord:
        with self._database.reading() as connection:
            self._database.check_here(connection)
            return self._known.learn(self.load_in(connection))

    def known(self) -> ControlRecord | None:
        """Return the newest record that was loaded or committed here, without I/O."""
        return self._known.record

    def load_in(self, connection: sqlite3.Connection) -> ControlRecord:
        """Return the record that the caller's transaction sees."""
        return self._decoded.of(connection.execute(_SQL["load"]).fetchone()[0])

    def epoch(self) -> int:
        """Return the current epoch."""
        with self._database.connection() as connection:
            return self._epoch(connection)

    def _epoch(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT epoch FROM control").fetchone()[0])

    def commit(self, change: Change) -> Entry:
        """Apply a change, once."""
        written: list[bytes] = []

        def act(begun: Callable[[], None]) -> None:
            with self._database.writing("control", interruptible=True) as connection:
                begun()
                if self._applied(connection, change.operation) is None:
                    written.append(self._apply(connection, change))

        try:
            if change.release is None:
                self._database.reserve.using(act)
            else:  # what a deployment brings would take the space that its rollback needs
                act(lambda: None)
        except OutcomeUnknown:
            with self._database.connection() as connection:
                applied = self._applied(connection, change.operation)
            if applied is None:
                raise
        self._database.ring()
        with self._database.connection() as connection:
            applied = self._applied(connection, change.operation)
        if applied is None:
            raise OutcomeUnknown(f"operation {change.operation} left no entry in the control log; run `kedge fsck`")
        if written and applied.epoch == change.record.epoch:
            self._known.learn(self._decoded.of(written[-1]))
        return applied

    def _applied(self, connection: sqlite3.Connection, operation: str) -> Entry | None:
        return control_log.applied(connection.execute(_SQL["log_of_operation"], (operation,)))

    def _apply(self, connection: sqlite3.Connection, change: Change) -> bytes:
        """Apply a change in a write transaction; return the record as it is stored."""
        position = next_position(connection, self._clock)
        newest = connection.execute(_SQL["newest_change"]).fetchone()
        standing = self.load_in(connection)
        stored = control_log.Stored.of(change.record, standing, newest)
        if not connection.execute(_SQL["replace"], (change.record.epoch, stored.record)).rowcount:
            raise control_log.EpochMoved(f"the control record has left epoch {change.record.epoch - 1}")
        reach("control:replaced")
        if change.snapshot is not None and change.release is not None:
            previous = change.record.epoch - 1
            fields = (change.snapshot, position.seq - 1, previous, position.at, change.by, change.release.number)
            connection.execute(_SQL["snapshot_insert"], fields)
        log_in(connection, position, change.record.epoch, NewEntry.of(change, stored.logged))
        if change.release is not None:
            self._record_release(connection, change.release, position.at, change.by)
        if change.writes:
            batch = control_log.batch_of(change, position.at, standing.settled)
            self._journal.write_in(connection, batch, Position(position.seq + 1, position.at))
        for number in change.drop_snapshots_of:
            connection.execute(_SQL["snapshots_delete_of"], (number,))
        return stored.record

    def compact_in(self, connection: sqlite3.Connection) -> None:
        """Store the record in the form that older processes cannot read, in the transaction that fences them off."""
        record = transitions.compacted(self.load_in(connection))
        connection.execute(_SQL["rewrite"], (record_format.encode_record(record),))

    def _record_release(self, connection: sqlite3.Connection, release: Release, at: float, by: str) -> None:
        if connection.execute(_SQL["deployment_number"], (release.name,)).fetchone():
            raise control_log.deployment_exists(release.name)
        for key, artifact in release.artifacts.items():
            if artifact.version is not None:
                found = connection.execute(_SQL["version_digest"], (key, artifact.version)).fetchone()
                control_log.check_version(key, artifact, None if found is None else found[0])
                connection.execute(_SQL["version_insert"], (key, artifact.version, artifact.digest))
        connection.execute(_SQL["deployment_insert"], control_log.release_row(release, at, by))

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

        def act(begun: Callable[[], None]) -> None:
            with self._database.writing("step", interruptible=True) as connection:
                begun()
                if not control_log.has_step(connection.execute(_SQL["log_of_operation"], (operation,)), kind):
                    self._log_step(connection, NewEntry(operation, kind, by, deployment, reason, detail or {}))

        self._database.reserve.using(act)

    def note_in(self, connection: sqlite3.Connection, operation: str, kind: str, detail: dict[str, Any]) -> None:
        """Log a step of background work, in the caller's transaction."""
        self._log_step(connection, NewEntry(operation, kind, kind, detail=detail))

    def _log_step(self, connection: sqlite3.Connection, entry: NewEntry) -> None:
        log_in(connection, next_position(connection, self._clock), self._epoch(connection), entry)

    def entries(self, *, limit: int | None = None, operation: str | None = None) -> list[Entry]:
        """Return control entries, newest first."""
        with self._database.connection() as connection:
            if operation is not None:
                rows = connection.execute(_SQL["log_of_operation"], (operation,)).fetchall()
            else:
                rows = connection.execute(_SQL["log"], (-1 if limit is None else limit,)).fetchall()
        return [control_log.decode_entry(row) for row in rows[:limit]]

    def unfinished(self) -> list[tuple[Entry, Wanted]]:
        """Return the changes whose last step is not in the log, the oldest first, and what must follow each."""
        with self._database.reading() as connection:
            if self._database.min_writer(connection) >= FEATURES_SINCE:
                rows = connection.execute(_SQL["log_of_unfinished"]).fetchall()
                return [(control_log.decode_entry(row), unfinished.decode_wanted(wanted)) for *row, wanted in rows]
            found = {one.operation: one.wanted for one in unfinished.from_log(connection)}
        entries = (self.entries(operation=operation) for operation in found)
        return [(entry, found[entry.operation]) for own in entries for entry in own if not entry.is_step]

    def record_at(self, seq: int) -> ControlRecord:
        """Return the record as of a seq."""
        with self._database.connection() as connection:
            return record_format.fold(row[0] for row in connection.execute(_SQL["changes_to"], (seq,)))

    def newest_change(self, kind: str | None = None) -> Entry | None:
        """Return the newest change, of a kind or of any, without steps; None where only the creation is there."""
        query, asked = ("log_newest_change", ()) if kind is None else ("log_newest_of_kind", (kind,))
        with self._database.connection() as connection:
            row = connection.execute(_SQL[query], asked).fetchone()
        return None if row is None else control_log.decode_entry(row)

    def entries_of(self, deployments: Iterable[str], kinds: Iterable[str] | None = None) -> list[Entry]:
        """Return the changes of these deployments, of these kinds or all, without steps, newest first."""
        with self._database.connection() as connection:
            asked = json.dumps(sorted(deployments)), None if kinds is None else json.dumps(sorted(kinds))
            rows = connection.execute(_SQL["log_of_deployments"], asked).fetchall()
        return [control_log.decode_entry(row) for row in rows]

    def steps(self, kinds: Iterable[str], *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the steps of these kinds after a seq, up to a limit, newest first."""
        asked = json.dumps(sorted(kinds)), after, -1 if limit is None else limit
        with self._database.connection() as connection:
            return [control_log.decode_entry(row) for row in connection.execute(_SQL["log_of_steps"], asked)]

    def recorded(self, numbers: Iterable[int] | None = None) -> list[Recorded]:
        """Return deployments, of those ever staged these or all, in order of number."""
        with self._database.connection() as connection:
            return [control_log.decode_recorded(row) for row in _of(connection, "deployments", numbers)]

    def names(self, numbers: Iterable[int] | None = None) -> dict[int, str]:
        """Return the names of deployments by number, of those ever staged these or all."""
        with self._database.connection() as connection:
            return dict(_of(connection, "names", numbers).fetchall())

    def number_of(self, name: str) -> int | None:
        """Return the number of a deployment, whatever its status, or None."""
        if not is_name(name):
            return None
        with self._database.connection() as connection:
            found = connection.execute(_SQL["deployment_number"], (name,)).fetchone()
        return None if found is None else int(found[0])

    def incarnations(self, name: str) -> dict[str, int]:
        """Return the numbers of all deployments named `name` or `name#…`, by name."""
        with self._database.connection() as connection:
            return dict(connection.execute(_SQL["incarnations"], (name,)).fetchall())

    def peers(self) -> dict[int, str]:
        """Return the names of all incarnations of all peers, by number."""
        with self._database.connection() as connection:
            return dict(connection.execute(_SQL["peers"]).fetchall())

    def count_peers(self) -> int:
        """Return how many peers are registered; further incarnations of one, and `unknown`, do not count."""
        with self._database.connection() as connection:
            return int(connection.execute(_SQL["count_peers"]).fetchone()[0])

    def secret(self, name: str) -> bytes:
        """Return the id of the database, or the key that signs headers."""
        with self._database.connection() as connection:
            value = connection.execute(_SQL["meta"], (name,)).fetchone()[0]
        return value if isinstance(value, bytes) else str(value).encode()

    def moved_to(self) -> str | None:
        """Return the address that the database was moved to, or None."""
        return self._database.moved_to() or None

    # ── points in the past ──

    def position(self) -> Position:
        """Return the last seq, and the earliest time of the next entry."""
        with self._database.reading() as connection:
            following = next_position(connection, self._clock)
        return Position(following.seq - 1, following.at)

    def seq_at(self, moment: float) -> int:
        """Return the greatest seq whose time is not later than `moment` (seconds since the Unix epoch)."""
        return seq_at(moment, self.position().seq, self.time_of)

    def readable(self, seconds: float | None) -> Readable:
        """Return the part of the past that is readable if it is kept for so long."""
        return readable_part(self, seconds, self._clock.now())

    def time_of(self, seq: int) -> float:
        """Return the time of the last entry up to a seq."""
        with self._database.connection() as connection:
            return float(connection.execute(_SQL["time_of"], (seq,)).fetchone()[0])

    def take_snapshot(self, name: str, by: str) -> Snapshot:
        """Name the current position."""
        with self._database.writing("snapshot") as connection:
            if connection.execute(_SQL["snapshot"], (name,)).fetchone():
                raise control_log.snapshot_exists(name)
            position, epoch = next_position(connection, self._clock), self._epoch(connection)
            connection.execute(_SQL["snapshot_insert"], (name, position.seq - 1, epoch, position.at, by, None))
            log_in(connection, position, epoch, NewEntry.of_snapshot("snapshot", name, by, position.seq))
        return Snapshot(name, position.seq - 1, epoch, position.at, by)

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""
        with self._database.connection() as connection:
            return [Snapshot(*row) for row in connection.execute(_SQL["snapshots"])]

    def release_snapshot(self, name: str, by: str) -> None:
        """Remove a snapshot."""
        with self._database.writing("snapshot") as connection:
            if not connection.execute(_SQL["snapshot_delete"], (name,)).rowcount:
                raise control_log.no_snapshot(name, connection.execute(_SQL["snapshots"]))
            position = next_position(connection, self._clock)
            entry = NewEntry.of_snapshot("release", name, by, position.seq)
            log_in(connection, position, self._epoch(connection), entry)

    # ── sessions ──

    def session(self, session: str, upto: int | None = None) -> Session | None:
        """Return a session, now or as of a seq; None where it had not begun."""
        with self._database.connection() as connection:
            return self._session(connection, session, SEQ_MAX if upto is None else upto)

    def _session(self, connection: sqlite3.Connection, session: str, upto: int) -> Session | None:
        row = connection.execute(_SQL["session"], (session, upto)).fetchone()
        return None if row is None else control_log.decode_session(row)

    def sessions(self, chosen: SessionFilter, after: str | None, limit: int) -> list[Session]:
        """Return up to `limit` sessions as they stand, in order of name, from the one after `after` on."""
        first, end = chosen.prefix, prefix_end(chosen.prefix)
        with self._database.connection() as connection:
            asked = (first, end, after, chosen.number, chosen.sees, limit)
            return [control_log.decode_session(row) for row in connection.execute(_SQL["sessions"], asked)]

    def sessions_named(self, names: Iterable[str]) -> dict[str, Session]:
        """Return those of these sessions that have begun, by name."""
        rows = self._database.ask(_SQL["sessions_named"], json.dumps(list(names), ensure_ascii=False))
        return {row[0]: control_log.decode_session(row) for row in rows}

    def standing(self, session: str) -> tuple[ControlRecord, Session | None]:
        """Return the current record and a session, in one statement."""
        with self._database.connection() as connection:
            epoch, *row = connection.execute(_SQL["standing"], {"session": session}).fetchone()
        found = None if row[0] is None else control_log.decode_session(row)
        return self._known.at(epoch) or self._load(), found

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
        with self._database.writing("session", shares=True) as connection:
            found = self._session(connection, session, SEQ_MAX)
            if found is not None and found.generation > after:
                return found
            check_epoch(connection, epoch)
            position = next_position(connection, self._clock)
            begun = Session(session, after + 1, position.seq, epoch, position.at, base, opened_with, settings, ended)
            insert_session(connection, begun, by)
        return begun

    def change_session(self, change: SessionChange) -> None:
        """Make a change to the spaces of a session, once: all of it or nothing."""
        with self._database.writing("session") as connection:
            if connection.execute(_SQL["log_of_operation"], (change.operation,)).fetchone():
                return
            check_epoch(connection, change.epoch)
            position = next_position(connection, self._clock)
            first = position.seq + 1
            if (begins := change.begins) is not None:
                if self._session(connection, begins.session, SEQ_MAX) is not None:
                    raise control_log.session_exists(begins.session)
                if connection.execute(_SQL["space_in_use"], (begins.session,)).fetchone():
                    raise control_log.EpochMoved("somebody has written to a space of this name")
                begun = msgspec.structs.replace(begins, seq=first, at=position.at)
                insert_session(connection, begun, change.by)
                first += 1
            batches, detail = change.compose(range(first, first + change.count), position.at)
            log_in(
                connection, position, change.epoch, NewEntry(change.operation, change.kind, change.by, detail=detail)
            )
            for batch in batches:
                self._journal.write_in(connection, batch, Position(first, position.at))
                first += len(batch.writes)

    def counts(self) -> dict[str, int]:
        """Return how many sessions there are, and the last seq."""
        with self._database.reading() as connection:
            sessions = connection.execute(_SQL["session_count"]).fetchone()[0]
            return {"sessions": sessions, "seq": self._journal.last_seq(connection)}


def _of(connection: sqlite3.Connection, query: str, numbers: Iterable[int] | None) -> sqlite3.Cursor:
    if numbers is None:
        return connection.execute(_SQL[query])
    return connection.execute(_SQL[f"{query}_of"], (json.dumps(sorted(numbers)),))


def insert_session(connection: sqlite3.Connection, session: Session, by: str) -> None:
    """Insert a generation of a session and its entry in the log, in the caller's transaction."""
    row = (
        session.session, session.generation, session.seq, session.epoch, session.at, json.dumps(sorted(session.base)),
        session.opened_with, by, session.settings.encode(), session.ended,
    )  # fmt: skip
    connection.execute(_SQL["session_insert"], row)
    entry = NewEntry.of_session(session.session, session.generation, by)
    log_in(connection, Position(session.seq, session.at), session.epoch, entry)


def log_in(connection: sqlite3.Connection, position: Position, epoch: int, entry: NewEntry) -> None:
    """Insert an entry into the control log, in the caller's transaction."""
    fields = (
        position.seq, epoch, position.at, entry.operation, entry.kind, entry.deployment, entry.by, entry.reason,
        json.dumps(entry.detail, ensure_ascii=False), entry.record,
    )  # fmt: skip
    connection.execute(_SQL["log_insert"], fields)
    unfinished.follow(connection, entry, position.seq)
