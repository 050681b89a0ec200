"""Upgrade of a SQLite database: fill in new columns, then refuse older writers and compact the control record."""

from collections.abc import Callable

from kedge.backends.sqlite import unfinished
from kedge.backends.sqlite.control import SqliteControl
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.schema import migrations, schema_of
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.state_upkeep import announce, convert
from kedge.backends.sqlite.states import States
from kedge.model import upgrade
from kedge.model.upgrade import SchemaState

_BATCH_ROWS = 10_000


class SqliteUpgrade:
    """The schema of one SQLite database."""

    def __init__(self, database: Database, control: SqliteControl, interner: Interner, states: States) -> None:
        self._database = database
        self._control = control
        self._interner = interner
        self._states = states

    def state(self) -> SchemaState:
        """Return the schema and the fence."""
        with self._database.reading() as connection:
            return SchemaState(
                schema_of(connection), len(migrations()), self._database.min_writer(connection), upgrade.WRITER
            )

    def finish(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Fill in what the new schema needs, raise the fence, convert; return how many rows were filled in."""
        rows, fillings = 0, list(queries("backfill").values())
        for statement in fillings:
            while filled := self._fill(statement):
                rows += filled
                if progress is not None:
                    progress(rows, 0)  # how many are left would take a scan
        with self._database.writing("fence", interruptible=True) as connection:
            for statement in fillings:  # what older writers have added since; none can from here on
                rows += connection.execute(statement, (-1,)).rowcount
            self._control.compact_in(connection)
            announce(connection)
            unfinished.fill(connection)
            self._database.raise_fence(connection)
        rows += convert(self._database, self._interner, self._states)
        if progress is not None:
            progress(rows, rows)
        return rows

    def _fill(self, statement: str) -> int:
        with self._database.writing("upgrade") as connection:
            return int(connection.execute(statement, (_BATCH_ROWS,)).rowcount)
