"""Import of portable rows into a SQLite database."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import msgspec

from kedge import errors
from kedge.backends.sqlite import unfinished
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.layout import Layout
from kedge.backends.sqlite.migration.portable import insert, stored
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES, folder_of, real_path, sync_folder, translated
from kedge.backends.sqlite.sql import queries
from kedge.model import migration
from kedge.model.migration import PLAIN_WRITES, WRITES, Arriving, Identity, Record, Sealed, Table
from kedge.support.failpoints import reach

_SQL = queries("migration")
_SEQ, _SPACE, _NAME, _RANK = (WRITES.at(name) for name in ("seq", "space", "name", "rank"))
_EMBEDDING = WRITES.at("embedding")


class SqliteImporter:
    """A SQLite database that is being imported."""

    def __init__(self, path: Path, *, durability: str = "full") -> None:
        path = real_path(path)
        self._path = path
        self._durability = durability
        self._folder = folder_of(path)
        self._database: Database | None = None
        if path.exists():
            self._open()

    def _open(self) -> Database:
        if self._database is None:
            self._database = Database(self._path, self._durability)
        return self._database

    @property
    def url(self) -> str:
        """The address."""
        return f"sqlite:///{self._path}"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open().writing("arrive") as connection:
            found = _arriving(connection)
            if found is not None and found.abandoned:
                raise errors.Conflict(migration.abandoned_message(self.url))
            try:
                yield connection
            except sqlite3.IntegrityError as error:
                raise errors.Conflict(migration.two_at_once(self.url)) from error

    def _meta(self, name: str) -> bytes | None:
        if self._database is None:
            return None
        with self._database.connection() as connection:
            found = connection.execute(_SQL["meta"], (name,)).fetchone()
        return None if found is None else found[0]

    def arriving(self) -> Arriving | None:
        """Return the unfinished migration, or None where nothing is there yet."""
        found = migration.decode_arriving(self._meta("arriving"))
        if found is not None:
            return found
        if self._database is not None:
            with self._database.connection() as connection:
                if connection.execute(_SQL["record"]).fetchone() is not None:
                    raise migration.not_empty(self.url)
        return None

    def arrived(self) -> Sealed | None:
        """Return the seal of the source of a complete migration."""
        return migration.decode_sealed(self._meta("arrived"))

    def begin(self, arriving: Arriving) -> None:
        """Record that a migration has begun."""
        with self._writing() as connection:
            if connection.execute(_SQL["record"]).fetchone() is not None:
                raise migration.not_empty(self.url)
            for table in ("lineages", "seen_sets"):  # a new database has one row; it is imported again
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            self._note(connection, arriving)

    def _note(self, connection: sqlite3.Connection, arriving: Arriving) -> None:
        connection.execute(_SQL["meta_put"], ("arriving", msgspec.json.encode(arriving)))

    def abandon(self) -> None:
        """Record that the migration was given up."""
        if self._database is None:
            return
        with self._writing() as connection:
            has_record = connection.execute(_SQL["record"]).fetchone() is not None
            arriving = migration.abandoned(self.url, _arriving(connection), has_record=has_record)
            if arriving is not None:
                self._note(connection, arriving)

    def discard(self) -> None:
        """Delete all that has been imported."""
        if self.arriving() is None:
            return
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        for suffix in ("-wal", "-shm", "-doorbell", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    # ── writes ──

    def last_write(self) -> tuple[int, bytes]:
        """Return the seq and the digest of the last write so far."""
        with self._open().connection() as connection:
            found = connection.execute(_SQL["last_write"]).fetchone()
        return (0, b"") if found is None else (int(found[0]), bytes(found[1]))

    def count_writes(self) -> int:
        """Return how many writes have been imported."""
        with self._open().connection() as connection:
            return int(connection.execute(_SQL["count_writes"]).fetchone()[0])

    def put_embeddings(self, embeddings: Sequence[Record]) -> None:
        """Import embedding spaces."""
        with self._writing() as connection:
            connection.executemany(_SQL["embedding_put"], embeddings)
            for segment, *_ in embeddings:  # one whose rows are all gone has a file, too
                if not self._file(segment).exists():
                    self._append(self._file(segment), 0, b"")

    def put_writes(self, writes: Sequence[Record]) -> None:
        """Import the next writes with their vectors."""
        with self._writing() as connection:
            connection.executemany(insert(PLAIN_WRITES), stored(PLAIN_WRITES, (write[:_EMBEDDING] for write in writes)))
            for segment, group in migration.by_embedding(writes):
                self._extend(connection, segment, group)
            reach("arrive:writes")

    def _extend(self, connection: sqlite3.Connection, segment: int, writes: list[Record]) -> None:
        dim, rows = connection.execute(_SQL["segment"], (segment,)).fetchone()
        path = self._file(segment)
        try:
            self._append(path, rows * dim * FLOAT_BYTES, b"".join(write[_EMBEDDING + 1] for write in writes))
        except OSError as error:
            raise translated(error, path) from error
        records = [
            (segment, rows + at, write[_SEQ], write[_SPACE], write[_NAME], write[_RANK])
            for at, write in enumerate(writes)
        ]
        connection.executemany(_SQL["row_insert"], records)
        connection.execute(_SQL["grow"], (len(writes), segment))

    def _file(self, segment: int) -> Path:
        return self._folder / f"{Layout(segment).stem}.f32"

    def _append(self, path: Path, offset: int, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if offset == 0 else "r+b") as file:
            file.seek(offset)
            file.truncate()  # what a process that was killed had not committed
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if offset == 0:
            sync_folder(self._folder)
            sync_folder(self._folder.parent)

    # ── tables ──

    def put_table(self, table: Table, rows: Iterable[Record], arriving: Arriving) -> int:
        """Import a whole table."""
        count = 0

        def counted() -> Iterator[Record]:
            nonlocal count
            for row in rows:
                count += 1
                yield row

        with self._writing() as connection:
            if table.name == "rows":
                self._put_states(connection, counted())
            elif table.name == "lineages":
                self._put_lineages(connection, table, counted())
            else:
                connection.executemany(insert(table), stored(table, counted()))
            self._note(connection, arriving)
            reach("arrive:table")
        return count

    def _put_lineages(self, connection: sqlite3.Connection, table: Table, rows: Iterable[Record]) -> None:
        for ident, members in rows:
            connection.execute(insert(table), (ident, members))
            pairs = [(number, ident) for number in json.loads(members)]
            connection.executemany("INSERT INTO lineage_members (number, lineage) VALUES (?, ?)", pairs)

    def _put_states(self, connection: sqlite3.Connection, rows: Iterable[Record]) -> None:
        for segment, group in groupby(rows, key=lambda row: row[0]):
            numbers = dict(connection.execute(_SQL["numbers"], (segment,)).fetchall())
            connection.executemany(
                _SQL["row_state"], ((state, segment, numbers.get(seq, -1)) for _, seq, state in group)
            )
        missing = connection.execute(_SQL["rows_without_state"]).fetchone()[0]
        if missing:
            raise errors.Corruption(f"{missing} vectors of {self.url} have no state at the source; begin the move anew")

    # ── completion ──

    def finish(self, identity: Identity, record: tuple[int, bytes], sealed: Sealed) -> None:
        """Make the log of what was superseded, and let the database be opened."""
        with self._writing() as connection:
            connection.execute("DELETE FROM supersedes")
            connection.executemany(_SQL["supersede_insert"], _superseded(connection))
            connection.executemany(_SQL["reclaimed_put"], [(seq, name) for name, seq in identity.reclaimed.items()])
            connection.execute(_SQL["meta_put"], ("pruned", identity.pruned.encode()))
            connection.execute(_SQL["meta_put"], ("database_id", identity.database_id.decode()))
            connection.execute(_SQL["meta_put"], ("header_key", identity.header_key))
            connection.execute(_SQL["meta_put"], ("arrived", msgspec.json.encode(sealed)))
            if not connection.execute(_SQL["meta"], ("arriving",)).fetchone():
                raise errors.Conflict(migration.two_at_once(self.url))
            connection.execute(_SQL["count_arrived"])
            connection.execute(_SQL["meta_drop"], ("arriving",))
            connection.execute(_SQL["control_put"], record)
            unfinished.fill(connection)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
            self._database = None


def _superseded(connection: sqlite3.Connection) -> Iterator[tuple[int, int, int, int]]:
    """Yield (seq, segment, row, lineage): when each row was first superseded by which lineages."""
    key: tuple[int, str] | None = None
    firsts: dict[int, int] = {}  # of all writes that rank above, by lineage
    for space, name, seq, lineage, segment, row in connection.execute(_SQL["above"]):
        if key != (space, name):
            key, firsts = (space, name), {}
        if segment is not None:
            for above, first in firsts.items():
                yield max(first, seq), segment, row, above
        firsts[lineage] = min(seq, firsts.get(lineage, seq))


def _arriving(connection: sqlite3.Connection) -> Arriving | None:
    found = connection.execute(_SQL["meta"], ("arriving",)).fetchone()
    return migration.decode_arriving(None if found is None else found[0])
