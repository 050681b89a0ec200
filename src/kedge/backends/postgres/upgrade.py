"""Upgrade of a PostgreSQL database: fill in columns, then refuse older writers and compact the control record."""

from collections.abc import Callable
from functools import partial

from kedge.backends.postgres import unfinished
from kedge.backends.postgres.control import compact_in
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.schema import migrations
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.state_upkeep import announce, convert
from kedge.backends.postgres.states import States
from kedge.model import upgrade
from kedge.model.upgrade import SchemaState, check_writer

_SQL = queries("upgrade")
_BATCH_ROWS = 10_000


class PostgresUpgrade:
    """The schema of one PostgreSQL database."""

    def __init__(self, database: Database, interner: Interner, states: States) -> None:
        self._database = database
        self._interner = interner
        self._states = states

    def state(self) -> SchemaState:
        """Return the schema and the fence."""
        schema, fence = self._database.ask(_SQL["schema"])[0]
        return SchemaState(schema, len(migrations()), upgrade.UNFENCED if fence is None else int(fence), upgrade.WRITER)

    def finish(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Fill in what the new schema needs, raise the fence, convert; return how many rows were filled in."""
        rows, fillings = 0, list(queries("backfill").values())
        for statement in fillings:
            while filled := self._database.write("upgrade", partial(_fill, statement, _BATCH_ROWS), find=again):
                rows += filled
                if progress is not None:
                    progress(rows, 0)  # how many are left would take a scan
        check_writer(self._database.url, self.state().min_writer)

        def act(link: Link) -> int:
            """Fill in what older writers have added since, and raise the fence: they write nothing from here on."""
            late = sum(_fill(statement, None, link) for statement in fillings)
            compact_in(link)
            announce(link)
            unfinished.fill(link)
            link.send(_SQL["move_reclaimed"])
            link.send(_SQL["drop_reclaimed"])
            link.send(_SQL["raise_fence"], str(upgrade.WRITER).encode())
            return late

        rows += self._database.write("fence", act, lanes=ALL, find=again)
        rows += convert(self._database, self._interner, self._states)
        if progress is not None:
            progress(rows, rows)
        return rows


def _fill(statement: bytes, limit: int | None, link: Link) -> int:
    done = link.send(statement, limit)
    link.wait()
    return done.rowcount
