"""Reclamation of superseded content on PostgreSQL."""

from collections.abc import Iterable, Sequence

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model import control_log
from kedge.model.retention import as_bytes, by_key
from kedge.ports.reclamation import SUCCESSORS_MAX, Erased, Sampled, SpaceOf, Versions

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

    def sample(self, seqs: Sequence[int]) -> list[Sampled]:
        """Return those of these seqs that are writes."""

        def look(link: Link) -> list[Sampled]:
            members = self._interner.members
            return [
                Sampled(
                    store, space, seq, size, members(link, lineage),
                    tuple((at, members(link, by)) for at, by in zip(ats or (), bys or (), strict=True)),
                )
                for store, space, seq, size, lineage, ats, bys in link.rows(_SQL["sample"], list(seqs), SUCCESSORS_MAX)
            ]  # fmt: skip

        return self._database.read(look)

    def vector_bytes(self) -> int:
        """Return how many bytes the vectors take."""
        return int(self._database.ask(_SQL["vector_bytes"])[0][0])

    def claim(self, now: float, seconds: float) -> bool:
        """Claim the next pass in the background; False if a process has done so less than so many seconds ago."""
        asked = (as_bytes(now), as_bytes(now - seconds), as_bytes(now + seconds))
        return self._database.write("reclaim-claim", lambda link: bool(link.rows(_SQL["claim"], *asked)), find=again)

    def progress(self) -> bytes | None:
        """Return what `set_progress` kept last, or None."""
        rows = self._database.ask(_SQL["progress"])
        return bytes(rows[0][0]) if rows else None

    def set_progress(self, progress: bytes) -> None:
        """Keep how far the journal was looked at, under which pins."""
        self._database.write("reclaim-progress", lambda link: link.send(_SQL["set_progress"], progress), find=again)
