"""Export of a PostgreSQL database as portable rows, and its seal after a migration."""

from collections.abc import Iterator

import msgspec
import psycopg

from kedge.backends.postgres import row_locks
from kedge.backends.postgres.control import log_in
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.faults import translate
from kedge.backends.postgres.journal import Drawn
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.migration.portable import portable, select
from kedge.backends.postgres.sql import queries
from kedge.model import migration
from kedge.model.appends import TICK_SECONDS
from kedge.model.migration import EMBEDDINGS, WRITES, Identity, Marks, Record, Sealed, Table
from kedge.support.failpoints import reach

_SQL = queries("migration")
_CONTROL = queries("control")
_LOOK = queries("journal")["look"]
_FETCH_ROWS = 5_000


class PostgresExporter:
    """One PostgreSQL database as portable rows."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._database = Database(url, read_only=read_only)

    @property
    def url(self) -> str:
        """The address, without the password."""
        return self._database.url

    def identity(self) -> Identity:
        """Return the id and the keys of the database, which a migration keeps."""
        found = dict(self._database.ask(_SQL["secrets"]))
        reclaimed = dict(self._database.ask(_SQL["reclaimed"]))
        pruned = migration.portable_pruned(found.get("pruned"))
        return Identity(found["database_id"], found["header_key"], reclaimed, pruned)

    def marks(self) -> Marks:
        """Return how often rows were removed by purges."""
        return self._database.read(self._marks)

    def _marks(self, link: Link) -> Marks:
        begun, erased = link.one(_SQL["marks"])
        return migration.marks_of(self.url, begun, erased)

    def last_seq(self) -> int:
        """Return the last seq, once nothing before it is in flight."""
        return self._database.settle(lambda link: int(link.one(_SQL["last_seq"])[0]))

    def record(self) -> tuple[int, bytes]:
        """Return the control record with its epoch."""
        found = self._database.ask(_SQL["record"])
        if not found:
            raise migration.no_record(self.url)
        return int(found[0][0]), bytes(found[0][1])

    # ── rows ──

    def embeddings(self) -> list[Record]:
        """Return the embedding spaces."""
        return list(portable(EMBEDDINGS, self._database.ask(_SQL["embeddings"])))

    def writes(self, after: int, upto: int, limit: int) -> list[Record]:
        """Return the next writes after a seq, in order, with their vectors."""
        return list(portable(WRITES, self._database.ask(_SQL["writes"], after, upto, limit, migration.PAYLOAD_BYTES)))

    def count_writes(self) -> int:
        """Return how many writes there are."""
        return int(self._database.ask(_SQL["count_writes"])[0][0])

    def rows(self, table: Table) -> Iterator[Record]:
        """Yield all rows of a table in order of its key, as one instant shows them."""
        try:
            with (
                self._database.connect() as connection,
                connection.transaction(),
                psycopg.RawServerCursor(connection, "kedge_rows") as cursor,
            ):
                cursor.itersize = _FETCH_ROWS
                cursor.execute(self._database.adapted(connection, select(table)), binary=True)
                yield from portable(table, cursor)
        except psycopg.Error as error:
            raise translate(error, self.url) from error

    # ── sealing ──

    def sealed(self) -> Sealed | None:
        """Return where the database was moved to."""
        return self._database.read(_sealed)

    def seal(self, to: str, by: str, marks: Marks) -> Sealed | None:
        """Refuse all further writes, durably."""

        def act(link: Link) -> Sealed | None:
            found = _sealed(link)
            if found is not None or self._marks(link) != marks:
                return found
            sealed = self._log_move(link, "moved", to, by)
            link.send(_SQL["meta_put"], "moved", msgspec.json.encode(sealed))
            link.send(_SQL["refuse"])
            for table in _tables(link):
                link.send(
                    b"CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON kedge.%b "
                    b"FOR EACH STATEMENT EXECUTE FUNCTION kedge.refuse_moved()" % table
                )
            link.wait()
            reach("seal:sealed")
            return sealed

        return self._database.write("seal", act, lanes=row_locks.ALL, find=again)

    def unseal(self, by: str) -> None:
        """Accept writes again."""

        def act(link: Link) -> None:
            found = _sealed(link)
            if found is None:
                return
            for table in _tables(link):
                link.send(b"DROP TRIGGER IF EXISTS moved ON kedge.%b" % table)
            link.send(b"DROP FUNCTION kedge.refuse_moved()")
            link.send(_SQL["meta_drop"], "moved")
            self._log_move(link, "move-abandoned", found.to, by)

        self._database.write("unseal", act, lanes=row_locks.ALL, find=again)

    def _log_move(self, link: Link, kind: str, to: str, by: str) -> Sealed:
        """Log a change that only raises the epoch: every process that sees it reloads the record."""
        epoch, encoded, at, seqs = link.one(_LOOK, None, None, 1, TICK_SECONDS)
        drawn, record = Drawn(epoch, encoded, round(at, 6), seqs), migration.following_record(encoded)
        entry = migration.move_entry(kind, to, by, seqs[0], record)
        link.send(_SQL["replace"], record.epoch, entry.record)
        log_in(link, drawn, record.epoch, entry)
        link.send(_CONTROL["notify"], str(record.epoch))
        return Sealed(to, seqs[0], drawn.at, by)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def _sealed(link: Link) -> Sealed | None:
    found = link.row(_SQL["meta"], "moved")
    return migration.decode_sealed(None if found is None else found[0])


def _tables(link: Link) -> list[bytes]:
    return [name.encode() for (name,) in link.rows(_SQL["tables"])]
