"""Embedding coverage on SQLite."""

import json
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.session_names import named
from kedge.backends.sqlite.sql import queries
from kedge.model import reads as read_logs
from kedge.model.embedding import versions_read
from kedge.model.visibility import View
from kedge.model.writes import Head
from kedge.ports.coverage import Uncovered

_SQL = queries("coverage")


class SqliteCoverage:
    """The `EmbeddingCoverage` port of one SQLite database."""

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
        rows = self._database.ask(_SQL["names_since"], store, space, seq, json.dumps(list(without)))
        return [name for (name,) in rows]

    def embedding_spaces(self, vectors: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each vector write, by seq."""
        return dict(self._database.ask(_SQL["embedding_spaces"], json.dumps([head.seq for head in vectors])))

    def embedded_versions(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that the vector's turn had read."""
        seqs = {head.key.name: head.seq for head in vectors}
        names = json.dumps(list(seqs), ensure_ascii=False)
        with self._database.reading() as connection:
            versions = connection.execute(_SQL["versions"], (collection, names)).fetchall()
            rows = connection.execute(_SQL["batches_of"], (json.dumps(list(seqs.values())),)).fetchall()
            batches = {seq: (turn, before) for seq, turn, before in rows}
            reads = {}
            for batch in set(batches.values()):
                row = connection.execute(_SQL["reads_before"], batch).fetchone()
                reads[batch] = frozenset(read_logs.unpack(row[0]).seqs if row else ())
        return versions_read(seqs, versions, batches, reads)

    def uncovered(
        self, view: View, lineages: Iterable[int], collection: str, *, include_covered: bool
    ) -> list[Uncovered]:
        """Return the visible documents that have a vector of these lineages and no newer visible vector, by name."""
        with self._database.reading() as connection:
            vectors = self._interner.space(connection, "vectors", collection)
            documents = self._interner.space(connection, "documents", collection)
            counted = connection.execute(_SQL["lineages_in"], (vectors, documents)).fetchall()
            seen = [row[0] for row in counted if view.sees(self._interner.members(connection, row[0]))]
            asked = (vectors, documents, json.dumps(list(lineages)), json.dumps(seen), include_covered)
            rows = connection.execute(_SQL["uncovered"], asked).fetchall()
        return named(self._database, [Uncovered(*row) for row in rows])
