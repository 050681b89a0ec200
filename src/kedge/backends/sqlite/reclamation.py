"""Reclamation of superseded content on SQLite."""

import json
from collections.abc import Iterable, Sequence

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.sql import queries
from kedge.model.retention import as_bytes, by_key
from kedge.ports.reclamation import SUCCESSORS_MAX, Erased, Sampled, SpaceOf, Versions
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

    def sample(self, seqs: Sequence[int]) -> list[Sampled]:
        """Return those of these seqs that are writes."""
        found = []
        with self._database.reading() as connection:
            for store, name, space, key, rank, seq, lineage, size in connection.execute(
                _SQL["sample"], (json.dumps(list(seqs)),)
            ).fetchall():
                asked = (space, key, lineage, rank, seq, SUCCESSORS_MAX)
                rows = connection.execute(_SQL["above"], asked).fetchall()
                above = tuple((at, self._interner.members(connection, by)) for at, by in rows)
                found.append(Sampled(store, name, seq, size, self._interner.members(connection, lineage), above))
        return found

    def vector_bytes(self) -> int:
        """Return how many bytes the vectors take."""
        return int(self._database.ask(_SQL["vector_bytes"])[0][0])

    def claim(self, now: float, seconds: float) -> bool:
        """Claim the next pass in the background; False if a process has done so less than so many seconds ago."""
        with self._database.writing("reclaim-claim") as connection:
            asked = (as_bytes(now), as_bytes(now - seconds), as_bytes(now + seconds))
            return connection.execute(_SQL["claim"], asked).fetchone() is not None

    def progress(self) -> bytes | None:
        """Return what `set_progress` kept last, or None."""
        rows = self._database.ask(_SQL["progress"])
        return bytes(rows[0][0]) if rows else None

    def set_progress(self, progress: bytes) -> None:
        """Keep how far the journal was looked at, under which pins."""
        with self._database.writing("reclaim-progress") as connection:
            connection.execute(_SQL["set_progress"], (progress,))
