"""Impact of deployments on PostgreSQL."""

from collections.abc import Iterable
from typing import Any

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.heads import key_columns
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader
from kedge.backends.postgres.sql import queries
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.impact import WriteCount

_SQL = queries("impact")
_KEYS_AT_ONCE = 500


class PostgresImpact:
    """The `Impact` port of one PostgreSQL database."""

    def __init__(self, database: Database, reader: Reader) -> None:
        self._database = database
        self._reader = reader

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these deployments and none of those in `without`."""
        return [lineage for (lineage,) in self._database.ask(_SQL["lineages_with"], sorted(numbers), sorted(without))]

    def count_writes(self, lineages: Iterable[int]) -> list[WriteCount]:
        """Count the writes of these lineages by space."""
        return [WriteCount(*row) for row in self._database.ask(_SQL["count_writes"], list(lineages))]

    def affected_keys(self, lineages: Iterable[int], limit: int) -> tuple[list[Key], int]:
        """Return up to `limit` keys where one of these lineages has a head, and how many there are."""
        ids = list(lineages)

        def look(link: Link) -> tuple[list[Key], int]:
            spaces = link.rows(_SQL["spaces_with"], ids)
            within = [ident for ident, _, _ in spaces]
            total = link.send(_SQL["count_affected_keys"], within, ids)
            found = link.rows(_SQL["affected_keys"], within, ids, limit)
            keys = [Key(spaces[number][1], spaces[number][2], name) for number, name in found]
            # Where not all were fetched, a key of two lineages is counted twice.
            return keys, total.fetchall()[0][0] if len(keys) == limit else len(keys)

        return self._database.read(look)

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return the heads of each key in two views without `upto`."""
        asked = list(keys)

        def look(link: Link) -> list[tuple[Head | None, Head | None]]:
            pairs: list[tuple[Head | None, Head | None]] = []
            for start in range(0, len(asked), _KEYS_AT_ONCE):
                chunk = asked[start : start + _KEYS_AT_ONCE]
                rows: dict[int, list[Any]] = {}
                for number, *row in link.rows(_SQL["heads_of_keys"], *key_columns(chunk)):
                    rows.setdefault(number, []).append(row)
                for number, key in enumerate(chunk):
                    found = rows.get(number, ())
                    pairs.append(
                        (self._reader.choose(link, before, key, found), self._reader.choose(link, after, key, found))
                    )
            return pairs

        return self._database.read(look)

    def written_by_both(self, number: int, limit: int) -> list[Key]:
        """Return up to `limit` keys that have heads of this deployment and heads of others without it."""
        return [Key(*row) for row in self._database.ask(_SQL["written_by_both"], number, limit)]
