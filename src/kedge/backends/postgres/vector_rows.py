"""Vector writer: one immutable row for each write, and its state, which decides in which views it is head."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.backends.postgres.vector_type import DIM_MAX, Vector, are_plain, as_floats
from kedge.errors import Conflict, InvalidVector
from kedge.model.lineage import Lineage
from kedge.model.states import Rule, State, are_same
from kedge.model.vector_groups import VectorGroup
from kedge.model.writes import Row, VectorBatch
from kedge.ports.vectors import Collection
from kedge.support.failpoints import reach

_SQL = queries("vectors")
_ERASE_ROWS = 5_000


class LaneTransaction(msgspec.Struct, frozen=True):
    """A write transaction of the journal, and the lane that its counters are kept under."""

    link: Link
    lane: int


class VectorRows:
    """The `VectorWriter` of PostgreSQL: vectors and their states in tables, written in the journal's transaction."""

    def __init__(self, database: Database, interner: Interner, states: States) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self.is_typed = database.has_vector_type  # whether the vectors are in pgvector's type

    def sql(self, name: str) -> bytes:
        """Return a statement, with the column type that vectors have in this database."""
        return _SQL[name].replace(b"{vector}", b"vector" if self.is_typed else b"bytea")

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to the existing one of that name; return the stored collection."""

        def act(link: Link) -> Collection:
            settings = (collection.name, collection.dim, collection.metric, collection.embedder, at)
            link.send(_SQL["collection_insert"], *settings)
            held = collection_of(link.one(_SQL["collection_held"], collection.name))
            _check_same(held, collection)
            both = msgspec.structs.replace(held, fields=(*dict.fromkeys((*held.fields, *collection.fields)),))
            link.send(_SQL["collection_fields"], both.name, list(both.fields))
            return both

        rows = self._database.ask(_SQL["collection"], collection.name)
        found = collection_of(rows[0]) if rows else None
        if found is None or not set(collection.fields) <= set(found.fields):
            return self._database.write("collection", act, find=again)
        _check_same(found, collection)
        return found

    @contextmanager
    def storing(self, transaction: LaneTransaction, group: VectorGroup, settled: Lineage) -> Iterator[None]:
        """Store the vectors of a group and mark the rows that they supersede, once the block has sent the writes."""
        yield
        self._store(transaction.link, group, settled, transaction.lane)

    def committed(self) -> None:
        """Do nothing: PostgreSQL maintains its index as rows are written."""

    def erase(self, lineages: Iterable[int]) -> None:
        """Delete the vectors of these lineages, a part at a time: each part holds all lanes, so writers wait."""
        ids = list(lineages)

        def take(link: Link) -> int:
            seqs = [row[0] for row in link.rows(_SQL["rows_of_lineages"], ids, _ERASE_ROWS)]
            return len(link.rows(_SQL["rows_delete"], seqs, ALL[0]))

        while self._database.write("erase-vectors", take, lanes=ALL, find=again):
            pass

    def _store(self, link: Link, group: VectorGroup, settled: Lineage, lane: int) -> None:
        counts: Counter[tuple[int, int]] = Counter()
        rows, rule = group.rows, self._states.rule(link, settled)
        self._supersede(link, rows, rule, counts)
        if group.vectors is not None:
            embedding = self._embedding(link, group.collection, group.vectors)
            states = self._born(link, rows, rule)
            vectors = [Vector(row) for row in group.vectors.split()]
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
                    f"{vectors.dim} dimensions are too many for pgvector: use an embedder with at most {DIM_MAX}"
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

    def _supersede(self, link: Link, rows: Sequence[Row], rule: Rule, counts: Counter[tuple[int, int]]) -> None:
        older = link.rows(
            _SQL["rows_to_supersede"], [row.key.name for row in rows], [row.lineage for row in rows],
            [row.rank for row in rows], [row.seq for row in rows], rows[0].space,
        )  # fmt: skip
        known = self._states.of(link, {state for *_, state in older})
        moves: dict[tuple[int, int], int] = {}  # (state, superseding lineage) → new state
        now: dict[int, int] = {}
        for position, seq, _, embedding, state in older:
            before, by = now.get(seq, state), rows[position - 1].lineage
            if (before, by) not in moves:
                if before not in known:
                    known |= self._states.of(link, [before])
                moves[before, by] = self._superseded(link, before, known[before], (by, rule))
            after = moves[before, by]
            if after != before:
                now[seq] = after
                counts[embedding, before] -= 1
                counts[embedding, after] += 1
        if now:
            link.send(_SQL["rows_restate"], list(now), list(now.values()))

    def _superseded(self, link: Link, ident: int, state: State, by: tuple[int, Rule]) -> int:
        lineage, rule = by
        before, members = self._states.above(link, state), self._interner.members_uncached
        after = rule.superseded(members(link, state[0]), before, [members(link, lineage)])
        return ident if are_same(before, after) else self._states.intern(link, state[0], after, rule)

    def _born(self, link: Link, rows: Sequence[Row], rule: Rule) -> list[int]:
        """Return the state of each row. Later writes to the key of a replayed row supersede it from the start."""
        plain: dict[int, int] = {}
        states = []
        members = self._interner.members_uncached
        for row in rows:
            if row.rank != row.seq:
                found = link.rows(_SQL["lineages_above"], row.space, row.key.name, row.rank, row.seq)
                by = [members(link, lineage) for (lineage,) in found]
                above = rule.superseded(members(link, row.lineage), (), by)
                states.append(self._states.intern(link, row.lineage, above, rule))
                continue
            if row.lineage not in plain:
                plain[row.lineage] = self._states.plain(link, row.lineage, rule)
            states.append(plain[row.lineage])
        return states


def collection_of(row: tuple[Any, ...]) -> Collection:
    """Return the collection of a row of the catalog."""
    name, dim, metric, embedder, fields = row
    return Collection(name, dim, metric, embedder, tuple(fields))


def _check_same(found: Collection, wanted: Collection) -> None:
    """Raise `Conflict` if the settings differ; fields may differ, because they can be added."""
    if msgspec.structs.replace(found, fields=wanted.fields) != wanted:
        raise Conflict(f"the collection {wanted.name!r} exists as {found}, not {wanted}; use another name")
