"""Erasure of purged content on PostgreSQL."""

from collections.abc import Callable, Iterable

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lanes import ALL
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model import erasure

_SQL = queries("erasure")
_ERASE_ROWS = 5_000


class PostgresErasure:
    """The `Erasure` port of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Remove the content of all writes of these lineages; return how many writes this call erased.

        Dead rows keep the content until PostgreSQL vacuums the tables, which this requests at the end.
        """
        ids = list(lineages)
        last = int(self._database.ask(_SQL["last_write"])[0][0])
        erased = 0
        for first, upto in erasure.parts(last):
            erased += self._erase_payloads(first, upto, ids)
            if progress is not None:
                progress(upto, last)

        def erase_vectors(link: Link) -> int:
            return len(link.rows(_SQL["erase_rows"], ids, ALL[0], _ERASE_ROWS))

        def erase_heads(link: Link) -> None:
            link.send(_SQL["erase_heads"], ids)
            link.send(_SQL["erase_cache"], ids)

        while self._database.write("erase-vectors", erase_vectors, lanes=ALL, find=again):
            pass  # in parts, since writers wait
        self._database.write("erase-heads", erase_heads, lanes=ALL, find=again)
        self._database.vacuum("writes", "vector_rows", "cache")
        return erased

    def _erase_payloads(self, first: int, upto: int, ids: list[int]) -> int:
        return int(self._database.write("erase", lambda link: link.one(_SQL["erase"], first, upto, ids)[0], find=again))
