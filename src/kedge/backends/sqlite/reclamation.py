"""Reclamation of superseded content on SQLite."""

import json
from collections.abc import Iterable, Sequence

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.model.retention import by_key
from kedge.ports.reclamation import Erased, SpaceOf, Versions
from kedge.support.failpoints import reach

_SQL = queries("reclamation")


class SqliteReclamation:
    """The `Reclamation` port of one SQLite database. The file does not shrink: later writes take the free pages."""

    def __init__(self, database: Database, interner: Interner) -> None:
        self._database = database
        self._interner = interner

    def spaces(self, stores: Iterable[str]) -> list[SpaceOf]:
        """Return the spaces of these stores."""
        return [SpaceOf(*row) for row in self._database.ask(_SQL["spaces"], json.dumps(sorted(stores)))]

    def versions(self, first: int, upto: int, horizon: int, spaces: Sequence[int]) -> Versions:
        """Return the writes at the keys whose last write up to `horizon` has a seq from `first` to `upto`."""
        with self._database.reading() as connection:
            rows = connection.execute(_SQL["versions"], (first, upto, horizon, json.dumps(list(spaces)))).fetchall()
            members = {row[4]: self._interner.members(connection, row[4]) for row in rows}
        return Versions(by_key(rows), members)

    def erase(self, seqs: Sequence[int], epoch: int) -> Erased:
        """Remove the content of these writes."""
        asked = (json.dumps(list(seqs)),)
        with self._database.writing("reclaim") as connection:
            check_epoch(connection, epoch)
            found = connection.execute(_SQL["content_bytes"], asked).fetchone()
            connection.execute(_SQL["erase"], asked)
            reach("reclaim:erased")
        return Erased(*found)

    def last_seq(self) -> int:
        """Return the greatest seq of a write."""
        return int(self._database.ask(_SQL["last_seq"])[0][0])

    def progress(self) -> bytes | None:
        """Return what `set_progress` kept last, or None."""
        rows = self._database.ask(_SQL["progress"])
        return bytes(rows[0][0]) if rows else None

    def set_progress(self, progress: bytes) -> None:
        """Keep how far the journal was looked at, under which pins."""
        with self._database.writing("reclaim-progress") as connection:
            connection.execute(_SQL["set_progress"], (progress,))
