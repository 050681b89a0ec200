"""Export of a SQLite database as portable rows, and its seal after a migration."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from kedge import errors
from kedge.backends.sqlite import layout as layouts
from kedge.backends.sqlite.control import log_in
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.faults import MOVED
from kedge.backends.sqlite.journal import next_position
from kedge.backends.sqlite.layout import GONE, Layout
from kedge.backends.sqlite.migration.portable import portable, select
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES, folder_of, real_path
from kedge.backends.sqlite.sql import queries
from kedge.model import migration
from kedge.model.migration import EMBEDDINGS, WRITES, Identity, Marks, Record, Sealed, Table
from kedge.ports.clock import Clock, SystemClock
from kedge.support.failpoints import reach

_SQL = queries("migration")
_VERBS = ("INSERT", "UPDATE", "DELETE")
_TRIES = 5
_PAYLOAD = WRITES.at("payload")
Segments = dict[int, tuple[Layout, int]]  # by id: where its rows lie, and its dimension


class SqliteExporter:
    """One SQLite database as portable rows."""

    def __init__(self, path: Path, *, read_only: bool = False, clock: Clock | None = None) -> None:
        path = real_path(path)
        self._database = Database(path, read_only=read_only)
        self._folder = folder_of(path)
        self._clock = clock or SystemClock()

    @property
    def url(self) -> str:
        """The address."""
        return f"sqlite:///{self._database.path}"

    def identity(self) -> Identity:
        """Return the id and the keys of the database, which a migration keeps."""
        with self._database.reading() as connection:
            found = {name: _as_bytes(value) for name, value in connection.execute(_SQL["secrets"])}
            reclaimed = dict(connection.execute(_SQL["reclaimed"]).fetchall())
            pruned = connection.execute(_SQL["pruned"]).fetchone()
        return Identity(
            found["database_id"], found["header_key"], reclaimed, migration.portable_pruned(pruned and pruned[0])
        )

    def marks(self) -> Marks:
        """Return how often rows were removed: by purges, and by compactions."""
        with self._database.connection() as connection:
            return self._marks(connection)

    def _marks(self, connection: sqlite3.Connection) -> Marks:
        begun, erased, packings = connection.execute(_SQL["marks"]).fetchone()
        return migration.marks_of(self.url, begun, erased, packings)

    def last_seq(self) -> int:
        """Return the last seq."""
        with self._database.connection() as connection:
            return int(connection.execute(_SQL["last_seq"]).fetchone()[0])

    def record(self) -> tuple[int, bytes]:
        """Return the control record with its epoch."""
        with self._database.connection() as connection:
            found = connection.execute(_SQL["record"]).fetchone()
        if found is None:
            raise migration.no_record(self.url)
        return int(found[0]), bytes(found[1])

    # ── rows ──

    def embeddings(self) -> list[Record]:
        """Return the embedding spaces."""
        with self._database.connection() as connection:
            return list(portable(EMBEDDINGS, connection.execute(_SQL["embeddings"])))

    def writes(self, after: int, upto: int, limit: int) -> list[Record]:
        """Return the next writes after a seq, in order, with their vectors."""
        for _ in range(_TRIES):
            try:
                return self._writes(after, upto, limit)
            except FileNotFoundError:  # a compaction has put another file in its place
                continue
        raise errors.DamagedSegment(f"a segment in {self._folder} is missing; `kedge fsck` says which")

    def _writes(self, after: int, upto: int, limit: int) -> list[Record]:
        with self._database.reading() as connection:
            with closing(connection.execute(_SQL["writes"], (after, upto, limit))) as cursor:
                found = list(_first_bytes(cursor))
            segments = self._segments(connection)
        files = _Files(self._folder, segments)
        try:
            rows = [(*row[:14], *files.vector(row[14], row[15])) for row in found]
        finally:
            files.close()
        return list(portable(WRITES, rows))

    def _segments(self, connection: sqlite3.Connection) -> Segments:
        return {
            ident: (layouts.read(connection, ident, packing, gone), dim)
            for ident, dim, _, packing, gone in connection.execute(_SQL["segments"]).fetchall()
        }

    def count_writes(self) -> int:
        """Return how many writes there are."""
        with self._database.connection() as connection:
            return int(connection.execute(_SQL["count_writes"]).fetchone()[0])

    def rows(self, table: Table) -> Iterator[Record]:
        """Yield all rows of a table in order of its key, as one instant shows them."""
        with self._database.reading() as connection:
            if table.name == "rows":
                yield from self._row_states(connection)
            else:
                yield from portable(table, connection.execute(select(table)))

    def _row_states(self, connection: sqlite3.Connection) -> Iterator[Record]:
        segments = self._segments(connection)
        for segment, seq, state, number in connection.execute(_SQL["rows"]):
            if segments[segment][0].position(number) != GONE:
                yield segment, seq, state

    # ── sealing ──

    def sealed(self) -> Sealed | None:
        """Return where the database was moved to."""
        with self._database.connection() as connection:
            return _sealed(connection)

    def seal(self, to: str, by: str, marks: Marks) -> Sealed | None:
        """Refuse all further writes, durably."""
        with self._database.writing("seal") as connection:
            found = _sealed(connection)
            if found is not None or self._marks(connection) != marks:
                return found
            sealed = self._log_move(connection, "moved", to, by)
            connection.execute(_SQL["meta_put"], ("moved", msgspec.json.encode(sealed)))
            for (table,) in connection.execute(_SQL["tables"]).fetchall():
                for verb in _VERBS:
                    connection.execute(
                        f"CREATE TRIGGER moved_{table}_{verb.lower()} BEFORE {verb} ON {table} "
                        f"BEGIN SELECT RAISE(ABORT, '{MOVED}'); END"
                    )
            reach("seal:sealed")
        self._database.ring()
        return sealed

    def unseal(self, by: str) -> None:
        """Accept writes again."""
        with self._database.writing("unseal") as connection:
            found = _sealed(connection)
            if found is None:
                return
            for (trigger,) in connection.execute(_SQL["seals"]).fetchall():
                connection.execute(f"DROP TRIGGER {trigger}")
            connection.execute(_SQL["meta_drop"], ("moved",))
            self._log_move(connection, "move-abandoned", found.to, by)
        self._database.ring()

    def _log_move(self, connection: sqlite3.Connection, kind: str, to: str, by: str) -> Sealed:
        """Log a change that only raises the epoch: every process that sees it reloads the record."""
        position = next_position(connection, self._clock)
        record = migration.following_record(connection.execute(_SQL["record"]).fetchone()[1])
        entry = migration.move_entry(kind, to, by, position.seq, record)
        connection.execute(_SQL["replace"], (record.epoch, entry.record))
        log_in(connection, position, record.epoch, entry)
        return Sealed(to, position.seq, position.at, by)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _first_bytes(rows: Iterable[Any]) -> Iterator[Any]:
    """Yield rows of writes until their payloads have `PAYLOAD_BYTES`: of large values, one."""
    held = 0
    for row in rows:
        yield row
        held += len(row[_PAYLOAD] or b"")
        if held >= migration.PAYLOAD_BYTES:
            return


class _Files:
    """Segment files that are open for reading."""

    def __init__(self, folder: Path, segments: Segments) -> None:
        self._folder = folder
        self._segments = segments
        self._open: dict[int, Any] = {}

    def vector(self, segment: int | None, number: int | None) -> tuple[int | None, bytes | None]:
        """Return the segment and the vector of a row; neither, where there is none or compaction has taken it."""
        if segment is None or number is None:
            return None, None
        layout, dim = self._segments[segment]
        position = layout.position(number)
        if position == GONE:
            return None, None
        if segment not in self._open:
            self._open[segment] = (self._folder / f"{layout.stem}.f32").open("rb")
        file, width = self._open[segment], dim * FLOAT_BYTES
        file.seek(position * width)
        content = file.read(width)
        if len(content) < width:
            raise errors.DamagedSegment(f"the segment {file.name} ends before row {position}; restore it from a backup")
        return segment, content

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()


def _sealed(connection: sqlite3.Connection) -> Sealed | None:
    found = connection.execute(_SQL["meta"], ("moved",)).fetchone()
    return migration.decode_sealed(None if found is None else found[0])


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
