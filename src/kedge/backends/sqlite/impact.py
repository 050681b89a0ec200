"""Impact of deployments on SQLite."""

import json
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.reads import Reader
from kedge.backends.sqlite.sql import queries
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.impact import WriteCount

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

    def count_writes(self, lineages: Iterable[int]) -> list[WriteCount]:
        """Count the writes of these lineages by space."""
        return [WriteCount(*row) for row in self._database.ask(_SQL["count_writes"], json.dumps(list(lineages)))]

    def affected_keys(self, lineages: Iterable[int], limit: int) -> tuple[list[Key], int]:
        """Return up to `limit` keys where one of these lineages has a head, and how many there are."""
        ids = json.dumps(list(lineages))
        keys: list[Key] = []
        total = 0
        with self._database.reading() as connection:
            for space_id, store, space in connection.execute(_SQL["spaces_with"], (ids,)).fetchall():
                total += connection.execute(_SQL["count_affected_keys"], (space_id, ids)).fetchone()[0]
                rows = connection.execute(_SQL["affected_keys"], (space_id, ids, max(0, limit - len(keys))))
                keys += [Key(store, space, row[0]) for row in rows]
        return keys, total if len(keys) == limit else len(keys)  # a key of two lineages was counted twice

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return the heads of each key in two views without `upto`."""
        with self._database.reading() as connection:
            return [
                (self._reader.head_in(connection, before, key), self._reader.head_in(connection, after, key))
                for key in keys
            ]

    def written_by_both(self, number: int, limit: int) -> list[Key]:
        """Return up to `limit` keys that have heads of this deployment and heads of others without it."""
        return [Key(*row) for row in self._database.ask(_SQL["written_by_both"], number, limit)]
