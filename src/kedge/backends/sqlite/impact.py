"""Impact of deployments on SQLite."""

import json
import sqlite3
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.reads import Reader
from kedge.backends.sqlite.sql import queries
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.impact import Arrival, StoreTotal, WriteCount

_SQL = queries("impact")


class SqliteImpact:
    """The `Impact` port of one SQLite database."""

    def __init__(self, database: Database, reader: Reader) -> None:
        self._database = database
        self._reader = reader

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these deployments and none of those in `without`."""
        asked = json.dumps(sorted(numbers)), json.dumps(sorted(without))
        return [lineage for (lineage,) in self._database.ask(_SQL["lineages_with"], *asked)]

    def count_writes(self, lineages: Iterable[int], limit: int | None = None) -> list[WriteCount]:
        """Count the writes of these lineages by space, for the first `limit` spaces."""
        rows = self._database.ask(_SQL["count_writes"], json.dumps(list(lineages)), -1 if limit is None else limit)
        return [WriteCount(*row) for row in rows]

    def totals(self, lineages: Iterable[int]) -> list[StoreTotal]:
        """Count the writes of these lineages by store."""
        return [StoreTotal(*row) for row in self._database.ask(_SQL["totals"], json.dumps(list(lineages)))]

    def affected_keys(self, lineages: Iterable[int], limit: int) -> list[Key]:
        """Return up to `limit` keys where one of these lineages has a head."""
        return [Key(*row) for row in self._database.ask(_SQL["affected_keys"], json.dumps(list(lineages)), limit)]

    def count_affected_keys(self, lineages: Iterable[int]) -> int:
        """Count the keys where one of these lineages has a head, once a lineage."""
        return int(self._database.ask(_SQL["count_affected_keys"], json.dumps(list(lineages)))[0][0])

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return the heads of each key in two views without `upto`; those of artifacts with payloads."""
        with self._database.reading() as connection:
            return [(self._head(connection, before, key), self._head(connection, after, key)) for key in keys]

    def _head(self, connection: sqlite3.Connection, view: View, key: Key) -> Head | None:
        return self._reader.head_in(connection, view, key, payloads=key.store == "artifacts")

    def arrivals(self, lineages: Iterable[int], after: int, limit: int) -> list[Arrival]:
        """Return the newest writes of these lineages after a seq, up to a limit, newest first."""
        asked = json.dumps(list(lineages)), after, limit
        return [Arrival(*row) for row in self._database.ask(_SQL["arrivals"], *asked)]

    def written_by_both(self, number: int, limit: int) -> list[Key]:
        """Return up to `limit` keys that have heads of this deployment and heads of others without it."""
        return [Key(*row) for row in self._database.ask(_SQL["written_by_both"], number, limit)]
