"""The control record of one SQLite database, its log, and what is recorded with its changes."""

import json
import sqlite3
from typing import Any

import msgspec

from kedge.backends.record_cache import RecordCache
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.journal import SqliteJournal, next_position
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.errors import ArtifactChanged, DuplicateName, OutcomeUnknown, UnknownName, nearest
from kedge.model.artifacts import Artifact
from kedge.model.compaction import Past, Readable
from kedge.model.control import ControlRecord
from kedge.model.lineage import EMPTY
from kedge.model.moments import seq_at
from kedge.model.writes import Author, Batch
from kedge.ports.clock import Clock
from kedge.ports.control import Change, Entry, EpochMoved, Position, Recorded, Release, Session, Snapshot
from kedge.support.failpoints import reach

_SQL = queries("control")
_COMPACTION = queries("compaction")
_RECORD = msgspec.json.Decoder(ControlRecord)
_MANIFEST = msgspec.json.Decoder(dict[str, Artifact])
_SEQ_MAX = 2**63 - 1


class SqliteControl:
    """The control record of one SQLite database."""

    def __init__(self, database: Database, journal: SqliteJournal, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._known = RecordCache()
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
            encoded = msgspec.json.encode(ControlRecord())
            if connection.execute(_SQL["create"], (encoded,)).rowcount:
                position = next_position(connection, self._clock)
                self._log(connection, position, 0, "create", "create", None, "kedge", "", {}, encoded)

    # ── the record ──

    def load(self) -> ControlRecord:
        """Return the record as it is now."""
        return self._known.at(self.epoch()) or self._load()

    def _load(self) -> ControlRecord:
        with self._database.reading() as connection:
            self._database.check_here(connection)
            return self._known.learn(self.load_in(connection))

    def known(self) -> ControlRecord | None:
        """Return the newest record that was loaded or committed here, without I/O."""
        return self._known.record

    def load_in(self, connection: sqlite3.Connection) -> ControlRecord:
        """Return the record as a transaction of the caller's sees it."""
        return _RECORD.decode(connection.execute(_SQL["load"]).fetchone()[0])

    def epoch(self) -> int:
        """Return the epoch as it is now."""
        with self._database.connection() as connection:
            return int(connection.execute("SELECT epoch FROM control").fetchone()[0])

    def commit(self, change: Change) -> Entry:
        """Apply a change, once."""
        try:
            with self._database.writing("control", interruptible=True) as connection:
                applied = self._applied(connection, change.operation)
                if applied is not None:
                    return applied
                self._apply(connection, change)
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
        if applied.epoch == change.record.epoch:
            self._known.learn(_RECORD.decode(msgspec.json.encode(change.record)))
        return applied

    def _applied(self, connection: sqlite3.Connection, operation: str) -> Entry | None:
        rows = connection.execute(_SQL["log_of_operation"], (operation,)).fetchall()
        return next((_entry(row) for row in rows if not row[9]), None)

    def _apply(self, connection: sqlite3.Connection, change: Change) -> None:
        position = next_position(connection, self._clock)
        encoded = msgspec.json.encode(change.record)
        if not connection.execute(_SQL["replace"], (change.record.epoch, encoded)).rowcount:
            raise EpochMoved(f"the control record has left epoch {change.record.epoch - 1}")
        reach("control:replaced")
        if change.snapshot is not None and change.release is not None:
            previous = change.record.epoch - 1
            fields = (change.snapshot, position.seq - 1, previous, position.at, change.by, change.release.number)
            connection.execute(_SQL["snapshot_insert"], fields)
        self._log(
            connection, position, change.record.epoch, change.operation, change.kind, change.deployment,
            change.by, change.reason, change.detail, encoded,
        )  # fmt: skip
        if change.release is not None:
            self._record_release(connection, change.release, position.at, change.by)
        if change.writes:
            author = Author(f"{change.operation}:{change.kind}", began_at=position.at, began_epoch=change.record.epoch)
            batch = Batch(change.record.epoch, author, change.writes, lineage=EMPTY, settled=change.record.settled)
            self._journal.write_in(connection, batch, Position(position.seq + 1, position.at))
        for number in change.drop_snapshots_of:
            connection.execute(_SQL["snapshots_delete_of"], (number,))

    def _log(self, connection: sqlite3.Connection, position: Position, epoch: int, *fields: Any) -> None:
        operation, kind, deployment, by, reason, detail, record = fields
        connection.execute(
            _SQL["log_insert"],
            (
                position.seq, epoch, position.at, operation, kind, deployment, by, reason,
                json.dumps(detail, ensure_ascii=False), record,
            ),
        )  # fmt: skip

    def _record_release(self, connection: sqlite3.Connection, release: Release, at: float, by: str) -> None:
        if connection.execute(_SQL["deployment_name"], (release.name,)).fetchone():
            raise DuplicateName(f"a deployment named {release.name!r} exists already; names are never used twice")
        for key, artifact in release.artifacts.items():
            if artifact.version is not None:
                self._record_version(connection, key, artifact)
        slim = {key: msgspec.structs.replace(artifact, value=None) for key, artifact in release.artifacts.items()}
        fields = (
            release.number, release.name, release.kind, release.digest, msgspec.json.encode(slim),
            msgspec.json.encode(release.warnings), release.note, at, by,
        )  # fmt: skip
        connection.execute(_SQL["deployment_insert"], fields)

    def _record_version(self, connection: sqlite3.Connection, key: str, artifact: Artifact) -> None:
        found = connection.execute(_SQL["version_digest"], (key, artifact.version)).fetchone()
        if found is not None and found[0] != artifact.digest:
            raise ArtifactChanged(
                f"artifact {key!r} version {artifact.version!r} was recorded with the digest {found[0]}, "
                f"not {artifact.digest}; artifacts never change: use another version label"
            )
        connection.execute(_SQL["version_insert"], (key, artifact.version, artifact.digest))

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
        with self._database.writing("step", interruptible=True) as connection:
            rows = connection.execute(_SQL["log_of_operation"], (operation,)).fetchall()
            if any(row[4] == kind for row in rows):
                return
            position = next_position(connection, self._clock)
            epoch = connection.execute("SELECT epoch FROM control").fetchone()[0]
            self._log(connection, position, epoch, operation, kind, deployment, by, reason, detail or {}, None)

    def note_in(self, connection: sqlite3.Connection, operation: str, kind: str, detail: dict[str, Any]) -> None:
        """Journal a step that Kedge takes of its own accord, in a transaction of the caller's."""
        position = next_position(connection, self._clock)
        epoch = connection.execute("SELECT epoch FROM control").fetchone()[0]
        self._log(connection, position, epoch, operation, kind, None, kind, "", detail, None)

    def entries(self, *, limit: int | None = None, operation: str | None = None) -> list[Entry]:
        """Return control entries, the newest first."""
        with self._database.connection() as connection:
            if operation is not None:
                rows = connection.execute(_SQL["log_of_operation"], (operation,)).fetchall()
            else:
                rows = connection.execute(_SQL["log"], (-1 if limit is None else limit,)).fetchall()
        return [_entry(row) for row in rows[:limit]]

    def record_at(self, seq: int) -> ControlRecord:
        """Return the record as it was when the journal stood at this seq."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["record_at"], (seq,)).fetchone()
        return ControlRecord() if row is None else _RECORD.decode(row[0])

    def recorded(self) -> list[Recorded]:
        """Return every deployment ever staged, in number order."""
        with self._database.connection() as connection:
            rows = connection.execute(_SQL["deployments"]).fetchall()
        return [
            Recorded(
                Release(number, name, kind, digest, _MANIFEST.decode(manifest), tuple(json.loads(warnings)), note),
                at,
                by,
            )
            for number, name, kind, digest, manifest, warnings, note, at, by in rows
        ]

    def names(self) -> dict[int, str]:
        """Return the name of every deployment ever staged, by number."""
        with self._database.connection() as connection:
            return dict(connection.execute(_SQL["names"]).fetchall())

    def secret(self, name: str) -> bytes:
        """Return a value of the database's own: its id, or the key that signs headers."""
        with self._database.connection() as connection:
            value = connection.execute(_SQL["meta"], (name,)).fetchone()[0]
        return value if isinstance(value, bytes) else str(value).encode()

    def moved_to(self) -> str | None:
        """Return where the database was moved to, or None."""
        return self._database.moved_to() or None

    # ── points in the past ──

    def position(self) -> Position:
        """Return the last seq, and the time now as the journal counts it."""
        with self._database.reading() as connection:
            following = next_position(connection, self._clock)
        return Position(following.seq - 1, following.at)

    def seq_at(self, moment: float) -> int:
        """Return the greatest seq that is not later than a moment (seconds since the Unix epoch)."""
        return seq_at(moment, self.position().seq, self.time_of)

    def readable(self, record: ControlRecord) -> Readable:
        """Return what of the past can be read under a record: nothing that becomes readable later is older."""
        seq = 0 if record.retention_seconds is None else self.seq_at(self.position().at - record.retention_seconds)
        pasts = [Past(at, self.record_at(at).settled) for at in sorted({s.seq for s in self.snapshots()})]
        return Readable(Past(seq, self.record_at(seq).settled), tuple(pasts))

    def reclaimed(self) -> int:
        """Return the seq before which only snapshots can be read: compaction has reclaimed what was superseded."""
        with self._database.connection() as connection:
            return int(connection.execute(_COMPACTION["reclaimed"]).fetchone()[0])

    def time_of(self, seq: int) -> float:
        """Return the time of the entry at, or last before, a seq."""
        with self._database.connection() as connection:
            return float(connection.execute(_SQL["time_of"], (seq,)).fetchone()[0])

    def take_snapshot(self, name: str, by: str) -> Snapshot:
        """Name the point that the journal stands at."""
        with self._database.writing("snapshot") as connection:
            if connection.execute(_SQL["snapshot"], (name,)).fetchone():
                raise DuplicateName(f"a snapshot named {name!r} exists already; use another name")
            position = next_position(connection, self._clock)
            epoch = connection.execute("SELECT epoch FROM control").fetchone()[0]
            connection.execute(_SQL["snapshot_insert"], (name, position.seq - 1, epoch, position.at, by, None))
            self._log(
                connection, position, epoch, f"snapshot:{name}:{position.seq}", "snapshot", None, by, "",
                {"snapshot": name}, None,
            )  # fmt: skip
        return Snapshot(name, position.seq - 1, epoch, position.at, by)

    def snapshots(self) -> list[Snapshot]:
        """Return the named points, the oldest first."""
        with self._database.connection() as connection:
            return [Snapshot(*row) for row in connection.execute(_SQL["snapshots"])]

    def release_snapshot(self, name: str, by: str) -> None:
        """Let go of a named point."""
        with self._database.writing("snapshot") as connection:
            if not connection.execute(_SQL["snapshot_delete"], (name,)).rowcount:
                known = [row[0] for row in connection.execute(_SQL["snapshots"])]
                raise UnknownName(f"no snapshot is named {name!r}{nearest(name, known)}")
            position = next_position(connection, self._clock)
            epoch = connection.execute("SELECT epoch FROM control").fetchone()[0]
            self._log(
                connection, position, epoch, f"release:{name}:{position.seq}", "release-snapshot", None, by, "",
                {"snapshot": name}, None,
            )  # fmt: skip

    # ── sessions ──

    def session(self, session: str, upto: int | None = None) -> Session | None:
        """Return what a session is fixed to, or was at a seq; None where it had not appeared."""
        with self._database.connection() as connection:
            return self._session(connection, session, _SEQ_MAX if upto is None else upto)

    def _session(self, connection: sqlite3.Connection, session: str, upto: int) -> Session | None:
        row = connection.execute(_SQL["session"], (session, upto)).fetchone()
        return None if row is None else _session(row)

    def standing(self, session: str) -> tuple[ControlRecord, Session | None]:
        """Return the record as it is now, and what a session was fixed to then or just before; in one statement."""
        with self._database.connection() as connection:
            epoch, *row = connection.execute(_SQL["standing"], {"session": session}).fetchone()
        found = None if row[0] is None else _session(row)
        return self._known.at(epoch) or self._load(), found

    def begin_session(
        self, session: str, epoch: int, base: frozenset[int], opened_with: str | None, *, after: int, by: str
    ) -> Session:
        """Fix what a session sees, unless another process did so first: `after` is the generation it follows."""
        with self._database.writing("session") as connection:
            found = self._session(connection, session, _SEQ_MAX)
            if found is not None and found.generation > after:
                return found
            check_epoch(connection, epoch)
            position = next_position(connection, self._clock)
            row = (
                session, after + 1, position.seq, epoch, position.at, json.dumps(sorted(base)), opened_with, by,
            )  # fmt: skip
            connection.execute(_SQL["session_insert"], row)
            # The entry takes a seq of its own, so that a past read before it never changes its answer.
            self._log(
                connection, position, epoch, f"session:{session}:{after + 1}", "session", None, by, "",
                {"session": session}, None,
            )  # fmt: skip
        return Session(session, after + 1, position.seq, epoch, position.at, base, opened_with)

    def counts(self) -> dict[str, int]:
        """Return how many sessions there are, and the last seq."""
        with self._database.reading() as connection:
            sessions = connection.execute(_SQL["session_count"]).fetchone()[0]
            return {"sessions": sessions, "seq": self._journal.last_seq(connection)}


def _session(row: Any) -> Session:
    name, generation, seq, epoch, at, base, opened_with = row
    return Session(name, generation, seq, epoch, at, frozenset(json.loads(base)), opened_with)


def _entry(row: Any) -> Entry:
    seq, epoch, at, operation, kind, deployment, by, reason, detail, is_step = row
    return Entry(seq, epoch, at, operation, kind, deployment, by, reason, json.loads(detail), bool(is_step))
