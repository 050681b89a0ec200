"""Erasure of purged content on PostgreSQL."""

from collections.abc import Callable, Iterable
from typing import Any

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.sql import queries
from kedge.model import erasure
from kedge.ports.vectors import VectorWriter

_SQL = queries("erasure")
_UNCONTEST = queries("states")["uncontest_newest_heads"]


class PostgresErasure:
    """The `Erasure` port of one PostgreSQL database."""

    def __init__(self, database: Database, vectors: VectorWriter[Any]) -> None:
        self._database = database
        self._vectors = vectors

    def check_room(self, lineages: Iterable[int]) -> None:
        """Do nothing: the server's disk cannot be seen from here."""

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

        def erase_heads(link: Link) -> None:
            link.send(_SQL["erase_heads"], ids)
            link.send(_UNCONTEST)
            link.send(_SQL["erase_cache"], ids)
            link.send(_SQL["erase_samples"], ids)

        self._vectors.erase(ids)
        self._database.write("erase-heads", erase_heads, lanes=ALL, find=again)
        self._database.vacuum("writes", "vector_rows", "cache", "observations")
        return erased

    def _erase_payloads(self, first: int, upto: int, ids: list[int]) -> int:
        return int(self._database.write("erase", lambda link: link.one(_SQL["erase"], first, upto, ids)[0], find=again))
