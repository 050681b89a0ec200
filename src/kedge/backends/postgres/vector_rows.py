"""Writing vectors: a row for each write, never changed, and beside it the state that says where it is head."""

from collections import Counter
from collections.abc import Sequence

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.backends.postgres.vector_type import DIM_MAX, Vector, are_plain, as_floats
from kedge.errors import InvalidVector
from kedge.model.lineage import Lineage
from kedge.model.writes import Batch, Row, VectorBatch
from kedge.support.failpoints import reach

_SQL = queries("vectors")


class VectorWriter:
    """Keeps the vectors and their states beside the journal, in its transaction."""

    def __init__(self, states: States, *, is_typed: bool) -> None:
        self._states = states
        self.is_typed = is_typed  # whether the vectors are in pgvector's type

    def sql(self, name: str) -> bytes:
        """Return a statement, with the type that vectors have in this database."""
        return _SQL[name].replace(b"{vector}", b"vector" if self.is_typed else b"bytea")

    def write_in(self, link: Link, rows: Sequence[Row], batch: Batch, lane: int) -> None:
        """Store the vectors of these writes, and mark what they supersede."""
        counts: Counter[tuple[int, int]] = Counter()
        self._supersede(link, rows, batch.settled, counts)
        if batch.vectors is not None:
            embedding = self._embedding(link, rows[0].key.space, batch.vectors)
            states = self._born(link, rows, batch.settled)
            vectors = [Vector(row) for row in batch.vectors.split()]
            seqs = [row.seq for row in rows]
            link.send(
                self.sql("rows_insert"), seqs, [row.space for row in rows], [row.key.name for row in rows],
                [row.rank for row in rows], [row.lineage for row in rows], vectors, embedding,
            )  # fmt: skip
            reach("segment:rows")
            link.send(_SQL["states_insert"], seqs, states, embedding)
            counts.update((embedding, state) for state in states)
        changed = sorted(place for place, added in counts.items() if added)
        if changed:
            embeddings, states = [list(column) for column in zip(*changed, strict=True)]
            link.send(_SQL["state_count"], embeddings, states, [counts[place] for place in changed], lane)

    def _embedding(self, link: Link, collection: str, vectors: VectorBatch) -> int:
        known = link.row(_SQL["embedding"], collection, vectors.space)
        if known is None:
            if self.is_typed and vectors.dim > DIM_MAX:
                raise InvalidVector(
                    f"vectors of {vectors.dim} dimensions are more than the {DIM_MAX} that pgvector takes; use fewer"
                )
            made = link.row(_SQL["embedding_insert"], collection, vectors.space, vectors.dim)
            known = made or link.one(_SQL["embedding"], collection, vectors.space)
        embedding, dim, is_plain = known
        if dim != vectors.dim:
            raise InvalidVector(
                f"the embedding space {vectors.space!r} of {collection!r} has {dim} dimensions, not {vectors.dim}; "
                "a new embedder needs a digest of its own"
            )
        if is_plain and not are_plain(as_floats(vectors.split())):
            link.send(_SQL["embedding_not_plain"], embedding)
        return int(embedding)

    def _supersede(self, link: Link, rows: Sequence[Row], settled: Lineage, counts: Counter[tuple[int, int]]) -> None:
        older = link.rows(
            _SQL["rows_to_supersede"], [row.key.name for row in rows], [row.lineage for row in rows],
            [row.rank for row in rows], [row.seq for row in rows], rows[0].space,
        )  # fmt: skip
        now: dict[int, int] = {}
        for position, seq, _, embedding, state in older:
            before = now.get(seq, state)
            own, superseders = self._states.of(link, before)
            after = self._states.intern(link, own, (*superseders, rows[position - 1].lineage), settled)
            if after != before:
                now[seq] = after
                counts[embedding, before] -= 1
                counts[embedding, after] += 1
        if now:
            link.send(_SQL["rows_restate"], list(now), list(now.values()))

    def _born(self, link: Link, rows: Sequence[Row], settled: Lineage) -> list[int]:
        """Return the state of each row; one of a replay is superseded from the start by later writes to its key."""
        plain: dict[int, int] = {}
        states = []
        for row in rows:
            if row.rank != row.seq:
                above = link.rows(_SQL["lineages_above"], row.space, row.key.name, row.rank, row.seq)
                states.append(self._states.intern(link, row.lineage, (lineage for (lineage,) in above), settled))
                continue
            if row.lineage not in plain:
                plain[row.lineage] = self._states.intern(link, row.lineage, ())
            states.append(plain[row.lineage])
        return states
