"""Control record of a PostgreSQL database, its log, deployments, sessions and snapshots."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kedge import errors
from kedge.backends.postgres import unfinished
from kedge.backends.postgres.database import Database, Unconfirmed, again
from kedge.backends.postgres.journal import Drawn, PostgresJournal
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import check_epoch
from kedge.backends.postgres.row_locks import ALL, lane_of
from kedge.backends.postgres.sql import queries
from kedge.backends.readable import readable_part
from kedge.backends.record_cache import DecodedRecord, RecordCache
from kedge.errors import OutcomeUnknown, UnknownName
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
from kedge.model.migration import Arriving, Sealed, arriving_message, moved_message
from kedge.model.moments import seq_at
from kedge.model.session_copy import SessionChange
from kedge.model.session_settings import DEFAULTS, SessionSettings
from kedge.model.unfinished import Wanted
from kedge.model.upgrade import FEATURES_SINCE
from kedge.model.visibility import SEQ_MAX, View
from kedge.model.writes import prefix_end
from kedge.support.failpoints import reach

_SQL = queries("control")
_EPOCH = queries("journal")["epoch"]
_NO_STAMP = 0


class PostgresControl:
    """The control record of one PostgreSQL database."""

    def __init__(self, database: Database, journal: PostgresJournal) -> None:
        self._database = database
        self._journal = journal
        self._known = RecordCache()
        self._decoded = DecodedRecord()
        if database.ask(_SQL["load"]):
            self.load()
            return
        self._check_complete(database.ask(_SQL["arriving"]))
        if database.read_only:
            raise UnknownName(
                f"there is no Kedge database at {database.url} yet; check the address, or create one with "
                "`kedge deploy`"
            )
        database.write("create", self._create, lanes=ALL, find=again)

    def _check_complete(self, arriving: list[Any]) -> None:
        """Raise `Arriving` during a migration to here."""
        if arriving:
            begun = msgspec.json.decode(arriving[0][0], type=Arriving)
            raise errors.Arriving(arriving_message(self._database.url, begun))

    def _create(self, link: Link) -> None:
        self._check_complete(link.rows(_SQL["arriving"]))
        if link.rows(_SQL["create"], control_log.CREATED.record):
            log_in(link, self._journal.draw(link, 1), 0, control_log.CREATED)

    # ── the record ──

    def load(self) -> ControlRecord:
        """Return the current record."""
        return self._known.at(self.epoch()) or self._load()

    def _load(self) -> ControlRecord:
        known = self._known.record
        encoded, moved = self._database.ask(_SQL["load"])[0]
        if moved is not None and not self._database.read_only:
            raise errors.Moved(moved_message(self._database.url, msgspec.json.decode(moved, type=Sealed).to))
        record = self._decoded.of(encoded)
        self._check_not_behind(known, record.epoch)
        return self._known.learn(record)

    def _check_not_behind(self, known: ControlRecord | None, epoch: int) -> None:
        """Raise where the server is behind the newest record that this process knew before it asked."""
        if known is not None and epoch < known.epoch:
            where, is_primary = self._database.url, not self._database.read_only
            self._database.known.give_up(f"epoch {known.epoch}", where, is_primary=is_primary)

    def known(self) -> ControlRecord | None:
        """Return the newest record that was loaded or committed here, without I/O."""
        return self._known.record

    def missing(self, link: Link) -> str | None:
        """Return what the server has lost of the known record, or None."""
        known = self._known.record
        if known is None:
            return None
        found = link.row(_SQL["seq_of_epoch"], known.epoch)
        if found is not None:
            record = _folded(lambda count: link.rows(_SQL["changes_to"], found[0], count))
            if transitions.compacted(record) == transitions.compacted(known):
                return None
        return f"epoch {known.epoch} as it was"

    def epoch(self) -> int:
        """Return the current epoch."""
        known = self._known.record
        epoch = int(self._database.ask(_EPOCH)[0][0])
        self._check_not_behind(known, epoch)
        return epoch

    def commit(self, change: Change) -> Entry:
        """Apply a change, once."""
        written: list[bytes] = []

        def act(link: Link) -> Entry:
            return self._applied(link, change.operation) or self._apply(link, change, written)

        def find(link: Link) -> Entry | None:
            return self._applied(link, change.operation)

        try:
            entry = self._database.write("control", act, lanes=ALL, find=find)
        except Unconfirmed:
            raise
        except OutcomeUnknown:
            applied = self._database.found(ALL, find)
            if applied is None:
                raise
            entry = applied
        if written and entry.epoch == change.record.epoch:
            self._known.learn(self._decoded.of(written[-1]))
        return entry

    def _applied(self, link: Link, operation: str) -> Entry | None:
        return control_log.applied(link.rows(_SQL["log_of_operation"], operation))

    def _apply(self, link: Link, change: Change, written: list[bytes]) -> Entry:
        newest = link.send(_SQL["newest_change"])
        before = self._journal.last_seq(link)  # all lanes are locked: nothing is in flight
        drawn = self._journal.draw(link, 1 + len(change.writes))
        epoch = change.record.epoch
        standing = self._decoded.of(drawn.record)
        stored = control_log.Stored.of(change.record, standing, newest.fetchall()[0])
        written.append(stored.record)
        if not link.rows(_SQL["replace"], epoch, stored.record):
            raise control_log.EpochMoved(f"the control record has left epoch {epoch - 1}")
        reach("control:replaced")
        if change.snapshot is not None and change.release is not None:
            fields = (change.snapshot, before, epoch - 1, drawn.at, change.by, change.release.number)
            link.send(_SQL["snapshot_insert"], *fields)
        log_in(link, drawn, epoch, NewEntry.of(change, stored.logged))
        if change.release is not None:
            self._record_release(link, change.release, drawn.at, change.by)
        if change.writes:
            after = Drawn(epoch, stored.record, drawn.at, drawn.seqs[1:])
            self._journal.write_in(
                link, control_log.batch_of(change, drawn.at, standing.settled), after, (_NO_STAMP, 0)
            )
        for number in change.drop_snapshots_of:
            link.send(_SQL["snapshots_delete_of"], number)
        link.send(_SQL["notify"], str(epoch))
        return Entry(
            drawn.seqs[0], epoch, drawn.at, change.operation, change.kind, change.deployment, change.by, change.reason,
            json.loads(json.dumps(change.detail)), is_step=False,
        )  # fmt: skip

    def _record_release(self, link: Link, release: Release, at: float, by: str) -> None:
        if link.rows(_SQL["deployment_number"], release.name):
            raise control_log.deployment_exists(release.name)
        for key, artifact in release.artifacts.items():
            if artifact.version is not None:
                label = artifact.version.encode()
                found = link.row(_SQL["version_digest"], key, label)
                control_log.check_version(key, artifact, None if found is None else found[0])
                link.send(_SQL["version_insert"], key, label, artifact.digest)
        *fields, note, at, by = control_log.release_row(release, at, by)
        link.send(_SQL["deployment_insert"], *fields, note.encode(), at, by)

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

        def act(link: Link) -> None:
            if not control_log.has_step(link.rows(_SQL["log_of_operation"], operation), kind):
                drawn = self._journal.draw(link, 1)
                log_in(link, drawn, drawn.epoch, NewEntry(operation, kind, by, deployment, reason, detail or {}))

        self._database.write("step", act, lanes=[lane_of("operation", operation)], find=again)

    def entries(self, *, limit: int | None = None, operation: str | None = None) -> list[Entry]:
        """Return control entries, newest first."""
        if operation is not None:
            rows = self._database.ask(_SQL["log_of_operation"], operation)
        else:
            rows = self._database.ask(_SQL["log"], limit)
        return [control_log.decode_entry(row) for row in rows[:limit]]

    def unfinished(self) -> list[tuple[Entry, Wanted]]:
        """Return the changes whose last step is not in the log, the oldest first, and what must follow each."""

        def look(link: Link) -> list[tuple[Entry, Wanted]]:
            fence = link.row(_SQL["min_writer"])
            if fence is not None and int(fence[0]) >= FEATURES_SINCE:
                rows = link.rows(_SQL["log_of_unfinished"])
                return [(control_log.decode_entry(row), unfinished.decode_wanted(wanted)) for *row, wanted in rows]
            found = {one.operation: one.wanted for one in unfinished.from_log(link)}
            logged = (link.rows(_SQL["log_of_operation"], operation) for operation in found)
            entries = (control_log.decode_entry(row) for rows in logged for row in rows)
            return [(entry, found[entry.operation]) for entry in entries if not entry.is_step]

        return self._database.read(look)

    def record_at(self, seq: int) -> ControlRecord:
        """Return the record as of a seq."""
        return _folded(lambda count: self._database.ask(_SQL["changes_to"], seq, count))

    def newest_change(self, kind: str | None = None) -> Entry | None:
        """Return the newest change, of a kind or of any, without steps; None where only the creation is there."""
        query, asked = ("log_newest_change", ()) if kind is None else ("log_newest_of_kind", (kind,))
        rows = self._database.ask(_SQL[query], *asked)
        return control_log.decode_entry(rows[0]) if rows else None

    def entries_of(self, deployments: Iterable[str], kinds: Iterable[str] | None = None) -> list[Entry]:
        """Return the changes of these deployments, of these kinds or all, without steps, newest first."""
        rows = self._database.ask(
            _SQL["log_of_deployments"], sorted(deployments), None if kinds is None else sorted(kinds)
        )
        return [control_log.decode_entry(row) for row in rows]

    def steps(self, kinds: Iterable[str], *, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the steps of these kinds after a seq, up to a limit, newest first."""
        rows = self._database.ask(_SQL["log_of_steps"], sorted(kinds), after, limit)
        return [control_log.decode_entry(row) for row in rows]

    def recorded(self, numbers: Iterable[int] | None = None) -> list[Recorded]:
        """Return deployments, of those ever staged these or all, in order of number."""
        return [control_log.decode_recorded(row) for row in self._of("deployments", numbers)]

    def names(self, numbers: Iterable[int] | None = None) -> dict[int, str]:
        """Return the names of deployments by number, of those ever staged these or all."""
        return dict(self._of("names", numbers))

    def _of(self, query: str, numbers: Iterable[int] | None) -> list[Any]:
        if numbers is None:
            return self._database.ask(_SQL[query])
        return self._database.ask(_SQL[f"{query}_of"], sorted(numbers))

    def number_of(self, name: str) -> int | None:
        """Return the number of a deployment, whatever its status, or None."""
        if not is_name(name):
            return None
        found = self._database.ask(_SQL["deployment_number"], name)
        return int(found[0][0]) if found else None

    def incarnations(self, name: str) -> dict[str, int]:
        """Return the numbers of all deployments named `name` or `name#…`, by name."""
        return dict(self._database.ask(_SQL["incarnations"], name))

    def peers(self) -> dict[int, str]:
        """Return the names of all incarnations of all peers, by number."""
        return dict(self._database.ask(_SQL["peers"]))

    def count_peers(self) -> int:
        """Return how many peers are registered; further incarnations of one, and `unknown`, do not count."""
        return int(self._database.ask(_SQL["count_peers"])[0][0])

    def secret(self, name: str) -> bytes:
        """Return the id of the database, or the key that signs headers."""
        return bytes(self._database.ask(_SQL["meta"], name)[0][0])

    def moved_to(self) -> str | None:
        """Return the address that the database was moved to, or None."""
        moved = self._database.ask(_SQL["load"])[0][1]
        return None if moved is None else msgspec.json.decode(moved, type=Sealed).to

    # ── points in the past ──

    def position(self) -> Position:
        """Return the last seq, once nothing before it is in flight, and the earliest time of the next entry."""
        if self._database.is_standby:  # it can lock no lane
            return self._database.read(self._journal.standby_stand)
        return self._database.settle(self._journal.stand)

    def seq_at(self, moment: float) -> int:
        """Return the greatest seq whose time is not later than `moment` (seconds since the Unix epoch)."""
        return seq_at(moment, self.position().seq, self.time_of)

    def readable(self, seconds: float | None, now: float) -> Readable:
        """Return the part of the past that is readable if it is kept for so long."""
        return readable_part(self, seconds, now)

    def time_of(self, seq: int) -> float:
        """Return the time of the last entry up to a seq."""
        return float(self._database.ask(_SQL["time_of"], seq)[0][0])

    def take_snapshot(self, name: str, by: str) -> Snapshot:
        """Name the current position."""

        def stand(link: Link) -> tuple[Position, int]:
            link.send(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")  # seq and epoch from one snapshot
            epoch = link.send(_EPOCH)
            at = self._journal.stand(link)
            link.send(b"COMMIT")
            return at, int(epoch.fetchall()[0][0])

        def act(link: Link) -> Snapshot:
            if link.row(_SQL["snapshot"], name) is not None:
                raise control_log.snapshot_exists(name)
            drawn = self._journal.draw(link, 1)
            taken = Snapshot(name, at.seq, epoch, at.at, by)
            link.send(_SQL["snapshot_insert"], name, at.seq, epoch, at.at, by, None)
            log_in(link, drawn, drawn.epoch, NewEntry.of_snapshot("snapshot", name, by, drawn.seqs[0]))
            return taken

        def find(link: Link) -> Snapshot | None:
            found = link.row(_SQL["snapshot"], name)
            return None if found is None or found[1:5] != (at.seq, epoch, at.at, by) else Snapshot(*found)

        at, epoch = self._database.settle(stand)
        return self._database.write("snapshot", act, lanes=[lane_of("snapshot", name)], find=find)

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""
        return [Snapshot(*row) for row in self._database.ask(_SQL["snapshots"])]

    def release_snapshot(self, name: str, by: str) -> None:
        """Remove a snapshot."""

        def act(link: Link) -> None:
            if not link.rows(_SQL["snapshot_delete"], name):
                raise control_log.no_snapshot(name, link.rows(_SQL["snapshots"]))
            drawn = self._journal.draw(link, 1)
            log_in(link, drawn, drawn.epoch, NewEntry.of_snapshot("release", name, by, drawn.seqs[0]))

        self._database.write("snapshot", act, lanes=[lane_of("snapshot", name)])

    # ── sessions ──

    def session(self, session: str, upto: int | None = None) -> Session | None:
        """Return a session, now or as of a seq; None where it had not begun."""
        rows = self._database.ask(_SQL["session"], session, SEQ_MAX if upto is None else upto)
        return control_log.decode_session(rows[0]) if rows else None

    def sessions(self, chosen: SessionFilter, after: str | None, limit: int) -> list[Session]:
        """Return up to `limit` sessions as they stand, in order of name, from the one after `after` on."""
        first, end = chosen.prefix, prefix_end(chosen.prefix)
        rows = self._database.ask(_SQL["sessions"], first, end, after, chosen.number, chosen.sees, limit)
        return [control_log.decode_session(row) for row in rows]

    def sessions_named(self, names: Iterable[str]) -> dict[str, Session]:
        """Return those of these sessions that have begun, by name."""
        rows = self._database.ask(_SQL["sessions_named"], list(names))
        return {row[0]: control_log.decode_session(row) for row in rows}

    def standing(self, session: str) -> tuple[ControlRecord, Session | None]:
        """Return the current record and a session, in one statement."""
        epoch, *row = self._database.ask(_SQL["standing"], session)[0]
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

        def find(link: Link) -> Session | None:
            row = link.row(_SQL["session"], session, SEQ_MAX)
            found = None if row is None else control_log.decode_session(row)
            return found if found is not None and found.generation > after else None

        def act(link: Link) -> Session:
            asked = link.send(_EPOCH)
            found = find(link)
            if found is not None:
                return found
            check_epoch(asked, View(epoch, base, base))
            drawn = self._journal.draw(link, 1)
            begun = Session(session, after + 1, drawn.seqs[0], epoch, drawn.at, base, opened_with, settings, ended)
            insert_session(link, drawn, begun, by)
            return begun

        return self._database.write("session", act, lanes=[lane_of("session", session)], find=find)

    def change_session(self, change: SessionChange) -> None:
        """Make a change to the spaces of a session, once: all of it or nothing."""

        def find(link: Link) -> bool | None:
            return True if link.rows(_SQL["log_of_operation"], change.operation) else None

        def act(link: Link) -> bool:
            if find(link):
                return True
            begins = change.begins
            drawn = self._journal.draw(link, change.count + (1 if begins is None else 2), epoch=change.epoch)
            seqs = drawn.seqs[1:]
            if begins is not None:
                if link.row(_SQL["session"], begins.session, SEQ_MAX) is not None:
                    raise control_log.session_exists(begins.session)
                if link.rows(_SQL["space_in_use"], begins.session):
                    raise control_log.EpochMoved("somebody has written to a space of this name")
                begun = msgspec.structs.replace(begins, seq=seqs[0], at=drawn.at)
                insert_session(link, msgspec.structs.replace(drawn, seqs=seqs[:1]), begun, change.by)
                seqs = seqs[1:]
            batches, detail = change.compose(seqs, drawn.at)
            entry = NewEntry(change.operation, change.kind, change.by, detail=detail)
            log_in(link, drawn, change.epoch, entry)
            self._journal.write_batches(link, batches, msgspec.structs.replace(drawn, seqs=seqs))
            return True

        lanes = set(ALL)
        if change.begins is not None:  # nobody else writes to the memory of a session that has not begun
            begun = change.begins.session
            lanes = {lane_of("session", begun), lane_of("memory", begun, "")}
            lanes |= {lane_of(key.store, key.space, key.name) for key in change.keys}
        self._database.write("session", act, lanes=sorted(lanes), find=find)

    def counts(self) -> dict[str, int]:
        """Return how many sessions there are, and the last seq."""
        sessions = self._database.ask(_SQL["session_count"])[0][0]
        return {"sessions": sessions, "seq": self.position().seq}


def compact_in(link: Link) -> None:
    """Store the record in the form that older processes cannot read, in the transaction that fences them off."""
    record = transitions.compacted(record_format.decode_record(link.one(_SQL["load"])[0]))
    link.send(_SQL["rewrite"], record_format.encode_record(record))


def _folded(changes: Callable[[int], list[Any]]) -> ControlRecord:
    """Return the record of the newest of the changes that `changes` returns, the newest first, up to a count."""
    newest = changes(1)
    before = record_format.deltas_of(newest[0][0]) if newest else 0
    return record_format.fold(row[0] for row in (changes(1 + before) if before else newest))


def insert_session(link: Link, drawn: Drawn, session: Session, by: str) -> None:
    """Insert a generation of a session and its entry in the log, in the caller's transaction."""
    link.send(
        _SQL["session_insert"], session.session, session.generation, session.seq, session.epoch, session.at,
        sorted(session.base), session.opened_with, by, session.settings.encode(), session.ended,
    )  # fmt: skip
    log_in(link, drawn, session.epoch, NewEntry.of_session(session.session, session.generation, by))


def log_in(link: Link, drawn: Drawn, epoch: int, entry: NewEntry) -> None:
    """Insert an entry into the control log, in the caller's transaction."""
    link.send(
        _SQL["log_insert"], drawn.seqs[0], epoch, drawn.at, entry.operation, entry.kind, entry.deployment, entry.by,
        entry.reason.encode(), json.dumps(entry.detail).encode(), entry.record,
    )  # fmt: skip
    unfinished.follow(link, entry, drawn.seqs[0])
