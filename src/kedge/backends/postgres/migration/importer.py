"""Import of portable rows into a PostgreSQL database."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from kedge import errors
from kedge.backends.postgres import unfinished
from kedge.backends.postgres.database import Database
from kedge.backends.postgres.faults import translate
from kedge.backends.postgres.link import Connection, Link
from kedge.backends.postgres.migration.portable import stored, types
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.vector_type import DIM_MAX, Vector, are_plain, as_floats
from kedge.model import migration
from kedge.model.migration import PLAIN_WRITES, WRITES, Arriving, Identity, Record, Sealed, Table
from kedge.support.failpoints import reach

_SQL = queries("migration")
_EMBEDDING = WRITES.at("embedding")
_VECTOR_ROW = ("seq", "space", "rank", "lineage", "name")
_ANALYZED = (b"writes", b"heads", b"vector_rows", b"row_states", b"turns", b"reads", b"control_log", b"sessions")
Cursor = psycopg.RawCursor[tuple[Any, ...]]


class PostgresImporter:
    """A PostgreSQL database that is being imported."""

    def __init__(self, url: str, *, durability: str = "full") -> None:
        self._address = url
        self._durability = durability
        self._database = Database(url, durability)
        self._connection: Connection | None = None

    @property
    def url(self) -> str:
        """The address, without the password."""
        return self._database.url

    @contextmanager
    def _writing(self) -> Iterator[Cursor]:
        """Lend a cursor inside a transaction; what is copied cannot go through a pipeline."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._database.connect()
                self._connection.cursor_factory = psycopg.RawCursor
            with self._connection.transaction(), psycopg.RawCursor(self._connection) as cursor:
                found = _arriving(cursor)
                if found is not None and found.abandoned:
                    raise errors.Conflict(migration.abandoned_message(self.url))
                yield cursor
                reach("arrive:before-commit")
        except psycopg.errors.UniqueViolation as error:
            raise errors.Conflict(migration.two_at_once(self.url)) from error
        except psycopg.Error as error:
            raise translate(error, self.url) from error

    def _meta(self, name: str) -> bytes | None:
        found = self._database.ask(_SQL["meta"], name)
        return bytes(found[0][0]) if found else None

    def arriving(self) -> Arriving | None:
        """Return the unfinished migration, or None where nothing is there yet."""
        found = migration.decode_arriving(self._meta("arriving"))
        if found is not None:
            return found
        if self._database.ask(_SQL["record"]):
            raise migration.not_empty(self.url)
        return None

    def arrived(self) -> Sealed | None:
        """Return the seal of the source of a complete migration."""
        return migration.decode_sealed(self._meta("arrived"))

    def begin(self, arriving: Arriving) -> None:
        """Record that a migration has begun."""
        with self._writing() as cursor:
            cursor.execute(_SQL["hold_lanes"])  # as the transaction that creates a control record does
            if cursor.execute(_SQL["record"]).fetchone() is not None:
                raise migration.not_empty(self.url)
            for table in (b"lineages", b"seen_sets"):  # a new database has one row; it is imported again
                cursor.execute(b"DELETE FROM kedge." + table)
            self._note(cursor, arriving)

    def _note(self, cursor: Cursor, arriving: Arriving) -> None:
        cursor.execute(_SQL["meta_put"], ("arriving", msgspec.json.encode(arriving)))

    def abandon(self) -> None:
        """Record that the migration was given up."""
        with self._writing() as cursor:
            has_record = cursor.execute(_SQL["record"]).fetchone() is not None
            arriving = migration.abandoned(self.url, _arriving(cursor), has_record=has_record)
            if arriving is not None:
                self._note(cursor, arriving)

    def discard(self) -> None:
        """Delete all that has been imported."""
        if self.arriving() is None:
            return
        with self._writing() as cursor:
            cursor.execute(b"DROP SCHEMA kedge CASCADE")
        self.close()
        self._database = Database(self._address, self._durability)

    # ── writes ──

    def last_write(self) -> tuple[int, bytes]:
        """Return the seq and the digest of the last write so far."""
        found = self._database.ask(_SQL["last_write"])
        return (int(found[0][0]), bytes(found[0][1])) if found else (0, b"")

    def count_writes(self) -> int:
        """Return how many writes have been imported."""
        return int(self._database.ask(_SQL["count_writes"])[0][0])

    def put_embeddings(self, embeddings: Sequence[Record]) -> None:
        """Import embedding spaces."""
        for _, collection, space, dim in embeddings:
            if self._database.has_vector_type and dim > DIM_MAX:
                raise errors.InvalidVector(
                    f"the vectors of {collection!r} in the space {space!r} have {dim} dimensions, and pgvector takes "
                    f"{DIM_MAX} at most; move to a database without pgvector, or leave the collection behind"
                )
        with self._writing() as cursor:
            for embedding in embeddings:
                cursor.execute(_SQL["embedding_put"], embedding)

    def put_writes(self, writes: Sequence[Record]) -> None:
        """Import the next writes with their vectors."""
        groups = migration.by_embedding(writes)
        columns = [WRITES.at(name) for name in _VECTOR_ROW]
        rows = [
            (*(write[at] for at in columns), embedding, Vector(write[_EMBEDDING + 1]))
            for embedding, group in groups
            for write in group
        ]
        vector = "vector" if self._database.has_vector_type else "bytea"
        with self._writing() as cursor:
            _copy(
                cursor,
                "writes",
                PLAIN_WRITES.names,
                types(PLAIN_WRITES),
                stored(PLAIN_WRITES, (w[:_EMBEDDING] for w in writes)),
            )
            names = (*_VECTOR_ROW, "embedding", "vector")
            _copy(cursor, "vector_rows", names, ["int8"] * 4 + ["text", "int8", vector], rows)
            for embedding, group in groups:
                if not are_plain(as_floats([write[_EMBEDDING + 1] for write in group])):
                    cursor.execute(_SQL["not_plain"], (embedding,))

    # ── tables ──

    def put_table(self, table: Table, rows: Iterable[Record], arriving: Arriving) -> int:
        """Import a whole table."""
        with self._writing() as cursor:
            name, names, kinds, kept = table.name, table.names, types(table), stored(table, rows)
            if name == "counters":
                names, kinds, kept = (*names, "lane"), [*kinds, "int4"], ((*row, 0) for row in kept)
            count = _copy(cursor, "row_states" if name == "rows" else name, names, kinds, kept)
            if name == "lineages":
                cursor.execute(_SQL["lineage_members"])
            self._note(cursor, arriving)
            reach("arrive:table")
        return count

    # ── completion ──

    def finish(self, identity: Identity, record: tuple[int, bytes], sealed: Sealed) -> None:
        """Count what is counted, and let the database be opened."""
        self._database.maintain(*(b"ANALYZE kedge." + table for table in _ANALYZED))
        with self._writing() as cursor:
            ((strays,),) = cursor.execute(_SQL["rows_without_state"]).fetchall()
            if strays:
                raise errors.Corruption(f"{strays} vectors of {self.url} and their states do not fit; begin anew")
            if cursor.execute(_SQL["hold_arriving"]).fetchone() is None:
                raise errors.Conflict(migration.two_at_once(self.url))
            cursor.execute(_SQL["state_counts"])
            cursor.execute(_SQL["draw_on"], (sealed.seq,))
            for name, value in (
                ("database_id", identity.database_id),
                ("header_key", identity.header_key),
                ("pruned", identity.pruned.encode()),
                *((f"reclaimed:{name}", str(seq).encode()) for name, seq in identity.reclaimed.items()),
                ("arrived", msgspec.json.encode(sealed)),
            ):
                cursor.execute(_SQL["meta_put"], (name, value))
            cursor.execute(_SQL["meta_drop"], ("arriving",))
            cursor.execute(_SQL["control_put"], record)
            unfinished.fill(Link(cursor.connection))

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._database.close()


def _copy(cursor: Cursor, table: str, names: Sequence[str], kinds: Sequence[str], rows: Iterable[Record]) -> int:
    count = 0
    statement = f"COPY kedge.{table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    with cursor.copy(statement.encode()) as copy:
        copy.set_types(kinds)
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _arriving(cursor: Cursor) -> Arriving | None:
    found = cursor.execute(_SQL["hold_arriving"]).fetchone()
    return migration.decode_arriving(None if found is None else found[0])
