"""Erasure of purged content on SQLite: rows of the file, and vectors of the segments."""

import json
import sqlite3
from collections.abc import Callable, Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.model import erasure
from kedge.ports.vectors import VectorWriter

_SQL = queries("erasure")


class SqliteErasure:
    """The `Erasure` port of one SQLite database."""

    def __init__(self, database: Database, vectors: VectorWriter[sqlite3.Connection]) -> None:
        self._database = database
        self._vectors = vectors

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
            connection.execute(_SQL["erase_cache"], (ids,))
            connection.execute(_SQL["erase_samples"], (ids,))
        with self._database.connection() as connection:
            # The WAL still holds erased pages. Where a reader keeps it in use, the last connection to close empties it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return erased
