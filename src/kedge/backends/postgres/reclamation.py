"""Reclamation of superseded content on PostgreSQL."""

from collections.abc import Iterable, Sequence

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model import control_log
from kedge.model.retention import by_key
from kedge.ports.reclamation import Erased, SpaceOf, Versions

_SQL = queries("reclamation")


class PostgresReclamation:
    """The `Reclamation` port of one PostgreSQL database. Its vacuum frees the space of what is erased."""

    def __init__(self, database: Database, interner: Interner) -> None:
        self._database = database
        self._interner = interner

    def spaces(self, stores: Iterable[str]) -> list[SpaceOf]:
        """Return the spaces of these stores."""
        return [SpaceOf(*row) for row in self._database.ask(_SQL["spaces"], sorted(stores))]

    def versions(self, first: int, upto: int, horizon: int, spaces: Sequence[int]) -> Versions:
        """Return the writes at the keys whose last write up to `horizon` has a seq from `first` to `upto`."""

        def look(link: Link) -> Versions:
            rows = link.rows(_SQL["versions"], first, upto, horizon, list(spaces))
            return Versions(by_key(rows), {row[4]: self._interner.members(link, row[4]) for row in rows})

        return self._database.read(look)

    def erase(self, seqs: Sequence[int], epoch: int) -> Erased:
        """Remove the content of these writes."""

        def act(link: Link) -> Erased:
            control_log.check_epoch(link.one(_SQL["epoch"])[0], epoch)
            return Erased(*link.one(_SQL["erase"], list(seqs)))

        return self._database.write("reclaim", act, find=again)

    def last_seq(self) -> int:
        """Return the greatest seq of a write."""
        return int(self._database.ask(_SQL["last_seq"])[0][0])

    def progress(self) -> bytes | None:
        """Return what `set_progress` kept last, or None."""
        rows = self._database.ask(_SQL["progress"])
        return bytes(rows[0][0]) if rows else None

    def set_progress(self, progress: bytes) -> None:
        """Keep how far the journal was looked at, under which pins."""
        self._database.write("reclaim-progress", lambda link: link.send(_SQL["set_progress"], progress), find=again)
