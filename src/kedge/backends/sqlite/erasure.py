"""Erasure of purged content on SQLite: rows of the file, and vectors of the segments."""

import json
import sqlite3
from collections.abc import Callable, Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.reserve import check_room
from kedge.backends.sqlite.sql import queries
from kedge.model import erasure
from kedge.ports.vectors import VectorWriter

_SQL = queries("erasure")
_UNCONTEST = queries("states")["uncontest_newest_heads"]
_PAGES_FACTOR = 2  # pages that an erased row changes, by its bytes
_LEAST_BYTES = 1 << 20


class SqliteErasure:
    """The `Erasure` port of one SQLite database."""

    def __init__(self, database: Database, vectors: VectorWriter[sqlite3.Connection]) -> None:
        self._database = database
        self._vectors = vectors

    def check_room(self, lineages: Iterable[int]) -> None:
        """Raise `StorageFull` where there is no room to erase these lineages: the WAL takes the pages of a part."""
        part = self._database.ask(_SQL["largest_part"], json.dumps(list(lineages)), erasure.ERASE_SEQS)[0][0]
        check_room(self._database.path, _PAGES_FACTOR * part + _LEAST_BYTES, "the purge")

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Remove the content of all writes of these lineages; return how many writes this call erased."""
        chosen = list(lineages)
        ids = json.dumps(chosen)
        last = self._database.ask(_SQL["last_write"])[0][0]
        erased = 0
        for first, upto in erasure.parts(last):
            with self._database.writing("erase") as connection:
                erased += connection.execute(_SQL["erase"], (first, upto, ids)).rowcount
            if progress is not None:
                progress(upto, last)
        self._vectors.erase(chosen)
        with self._database.writing("erase-heads") as connection:
            connection.execute(_SQL["erase_heads"], (ids,))
            connection.execute(_UNCONTEST)
            connection.execute(_SQL["erase_cache"], (ids,))
            connection.execute(_SQL["erase_samples"], (ids,))
        with self._database.connection() as connection:
            # The WAL still holds erased pages. Where a reader keeps it in use, the last connection to close empties it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return erased
