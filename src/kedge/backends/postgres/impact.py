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
from kedge.ports.impact import Arrival, StoreTotal, WriteCount

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

    def count_writes(self, lineages: Iterable[int], limit: int | None = None) -> list[WriteCount]:
        """Count the writes of these lineages by space, for the first `limit` spaces."""
        return [WriteCount(*row) for row in self._database.ask(_SQL["count_writes"], list(lineages), limit)]

    def totals(self, lineages: Iterable[int]) -> list[StoreTotal]:
        """Count the writes of these lineages by store."""
        return [StoreTotal(*row) for row in self._database.ask(_SQL["totals"], list(lineages))]

    def affected_keys(self, lineages: Iterable[int], limit: int) -> list[Key]:
        """Return up to `limit` keys where one of these lineages has a head."""
        return [Key(*row) for row in self._database.ask(_SQL["affected_keys"], list(lineages), limit)]

    def count_affected_keys(self, lineages: Iterable[int]) -> int:
        """Count the keys where one of these lineages has a head, once a lineage."""
        return int(self._database.ask(_SQL["count_affected_keys"], list(lineages))[0][0])

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return the heads of each key in two views without `upto`; those of artifacts with payloads."""
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

    def arrivals(self, lineages: Iterable[int], after: int, limit: int) -> list[Arrival]:
        """Return the newest writes of these lineages after a seq, up to a limit, newest first."""
        return [Arrival(*row) for row in self._database.ask(_SQL["arrivals"], list(lineages), after, limit)]

    def written_by_both(self, number: int, limit: int) -> list[Key]:
        """Return up to `limit` keys that have heads of this deployment and heads of others without it."""
        return [Key(*row) for row in self._database.ask(_SQL["written_by_both"], number, limit)]
