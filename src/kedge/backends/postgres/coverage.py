"""Embedding coverage on PostgreSQL."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.session_names import named
from kedge.backends.postgres.sql import queries
from kedge.model import reads as read_logs
from kedge.model.embedding import versions_read
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.ports.coverage import Uncovered

_SQL = queries("coverage")


class PostgresCoverage:
    """The `EmbeddingCoverage` port of one PostgreSQL database."""

    def __init__(self, database: Database, interner: Interner) -> None:
        self._database = database
        self._interner = interner

    def names_after(self, store: str, space: str, name: str, limit: int) -> list[str]:
        """Return the next `limit` names that were ever written in a space, visible or not."""
        return [name for (name,) in self._database.ask(_SQL["names_after"], store, space, name, limit)]

    def names_count(self, store: str, space: str) -> int:
        """Return how many names were ever written in a space."""
        return int(self._database.ask(_SQL["names_count"], store, space)[0][0])

    def names_since(self, store: str, space: str, seq: int, without: Iterable[int] = ()) -> list[str]:
        """Return the names written in a space after a seq; writes of the lineages in `without` do not count."""
        return [name for (name,) in self._database.ask(_SQL["names_since"], store, space, seq, list(without))]

    def embedding_spaces(self, vectors: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each vector write, by seq."""
        return dict(self._database.ask(_SQL["embedding_spaces"], [head.seq for head in vectors]))

    def embedded_versions(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that the vector's turn had read."""
        seqs = {head.key.name: head.seq for head in vectors}

        def look(link: Link) -> dict[int, int]:
            versions = link.send(_SQL["versions"], collection, list(seqs))
            rows = link.rows(_SQL["batches_of"], list(seqs.values()))
            batches = {seq: (turn, before) for seq, turn, before in rows}
            sent = {batch: link.send(_SQL["reads_before"], *batch) for batch in set(batches.values())}
            logs = {batch: cursor.fetchall() for batch, cursor in sent.items()}
            reads = {batch: frozenset(read_logs.unpack(log[0][0]).seqs if log else ()) for batch, log in logs.items()}
            return versions_read(seqs, versions.fetchall(), batches, reads)

        return self._database.read(look)

    def uncovered(
        self, view: View, lineages: Iterable[int], collection: str, *, include_covered: bool
    ) -> list[Uncovered]:
        """Return the visible documents that have a vector of these lineages and no newer visible vector, by name."""
        ids = list(lineages)

        def look(link: Link) -> list[Uncovered]:
            vectors = self._interner.space(link, "vectors", collection)
            documents = self._interner.space(link, "documents", collection)
            counted = link.rows(_SQL["lineages_in"], vectors, documents)
            seen = [row[0] for row in counted if view.sees(self._interner.members(link, row[0]))]
            rows = link.rows(_SQL["uncovered"], vectors, documents, ids, seen, include_covered)
            return [Uncovered(*row) for row in rows]

        return named(self._database, self._database.read(look))
