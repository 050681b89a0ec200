"""In-memory vector engine (brute force) for SQLite: the smallest example of the vector engine port.

    memory = MemoryVectors()
    backend = SqliteBackend(path, clock, cache_bytes=…, engine=memory.engine)

It keeps vectors by seq in a dict, and asks the journal at each search which writes are committed, visible and head. So
it keeps no state to undo: after a failed commit the journal reuses the seqs, and the next batch replaces the vectors.
Backends with the same `MemoryVectors` share the vectors. These are lost with the process: the law "durable" holds only
while it lives. A search costs O(writes of the collection).
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from kedge.backends.sqlite.catalog import Catalog
from kedge.backends.sqlite.control import SqliteControl
from kedge.backends.sqlite.reads import check_epoch
from kedge.backends.sqlite.vector_engine import OpenEngine, Parts
from kedge.errors import InvalidVector, PastUnreadable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.ranking import ScoredRow, best, without_own
from kedge.model.scores import score_exactly
from kedge.model.states import RowClass, classify, deciding
from kedge.model.vector_groups import VectorGroup
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Ints, Search, SpaceHeads, Tally

_WRITES = """
SELECT seq, name, lineage, rank, deleted, source, at, fresh_for, payload FROM writes WHERE space = ? ORDER BY seq
"""
_SEQS = "SELECT seq FROM writes WHERE space = ? AND NOT deleted"
_OF_LINEAGES = "SELECT seq FROM writes WHERE lineage IN (SELECT value FROM json_each(?))"


class Stored(msgspec.Struct, frozen=True):
    """One stored vector, of shape (dim,), and its embedding space."""

    space: str
    vector: Floats


class MemoryVectors:
    """The vectors of one database, by seq, for all backends that this process opens on it."""

    def __init__(self) -> None:
        self.rows: dict[int, Stored] = {}

    def engine(self, parts: Parts) -> "MemoryEngine":
        """Return the engine of one backend; an `EngineFactory`."""
        return MemoryEngine(parts, self.rows)


class MemoryEngine:
    """The engine of one backend."""

    def __init__(self, parts: Parts, stored: dict[int, Stored]) -> None:
        self.reader = MemoryReader(parts, stored)
        self.writer = MemoryWriter(parts, stored, self.reader)

    def open(self, control: SqliteControl) -> OpenEngine:  # noqa: ARG002 - the port's
        """Return the reader. There is no index and no compaction."""
        return OpenEngine(self.reader)


class MemoryWriter:
    """The `VectorWriter`."""

    def __init__(self, parts: Parts, stored: dict[int, Stored], reader: "MemoryReader") -> None:
        self._parts, self._stored, self._reader = parts, stored, reader
        self._catalog = Catalog(parts.database)

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to the existing one of that name; return the stored collection."""
        return self._catalog.declare(collection, at)

    @contextmanager
    def storing(self, transaction: sqlite3.Connection, group: VectorGroup, settled: Lineage) -> Iterator[None]:  # noqa: ARG002 - the port's
        """Store the vectors of a group by seq. The writes that the block inserts make them visible."""
        vectors = group.vectors
        if vectors is not None:
            dim = self._reader.dim_in(transaction, group.collection, vectors.space)
            if dim not in {None, vectors.dim}:
                raise InvalidVector(
                    f"the embedding space {vectors.space!r} of {group.collection!r} has {dim} dimensions, "
                    f"not {vectors.dim}; a new embedder needs a digest of its own"
                )
            for row, vector in zip(group.rows, vectors.split(), strict=True):
                self._stored[row.seq] = Stored(vectors.space, np.frombuffer(vector, np.float32))
        yield

    def committed(self) -> None:
        """Do nothing: there is no background work."""

    def erase(self, lineages: Iterable[int]) -> None:
        """Forget the vectors of these lineages."""
        with self._parts.database.reading() as connection:
            seqs = [seq for (seq,) in connection.execute(_OF_LINEAGES, (json.dumps(list(lineages)),))]
        for seq in seqs:
            self._stored.pop(seq, None)


class _Seen(msgspec.Struct, frozen=True):
    """The visible writes of a collection: all of them, and the newest at each name."""

    writes: list[Head]
    heads: dict[str, Head]
    at_seq: int

    def above(self, write: Head) -> list[Lineage]:
        """Return the lineages of the visible writes that supersede one."""
        newer = (w for w in self.writes if w.key == write.key and (w.rank, w.seq) > (write.rank, write.seq))
        return [other.lineage for other in newer]


class MemoryReader:
    """The `VectorReader`."""

    def __init__(self, parts: Parts, stored: dict[int, Stored]) -> None:
        self._parts, self._stored = parts, stored
        self._catalog = Catalog(parts.database)

    # ── collections ──

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        return self._catalog.collection(name)

    def collections(self) -> list[Collection]:
        """Return all collections, ordered by name."""
        return self._catalog.collections()

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None if nothing was written to it."""
        with self._parts.database.reading() as connection:
            return self.dim_in(connection, collection, space)

    def dim_in(self, connection: sqlite3.Connection, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, as a transaction sees it."""
        vectors = self._vectors_of(connection, collection, space)
        return len(next(iter(vectors.values()))) if vectors else None

    def _vectors_of(self, connection: sqlite3.Connection, collection: str, space: str) -> dict[int, Floats]:
        """Return the vectors of an embedding space, by seq, whose writes a transaction sees."""
        place = self._parts.interner.space(connection, "vectors", collection)
        rows = ((seq, self._stored.get(seq)) for (seq,) in connection.execute(_SEQS, (place,)).fetchall())
        return {seq: row.vector for seq, row in rows if row is not None and row.space == space}

    # ── views ──

    def _see(self, connection: sqlite3.Connection, view: View, collection: str) -> _Seen:
        """Read the writes of a collection that a view sees, in a fresh read transaction."""
        if view.upto is None:
            check_epoch(connection, view.epoch)
        at_seq = self._parts.reader.last_seq(connection)
        place = self._parts.interner.space(connection, "vectors", collection)
        writes = []
        for seq, name, lineage, rank, deleted, source, at, fresh, payload in connection.execute(_WRITES, (place,)):
            members = self._parts.interner.members(connection, lineage)
            if view.sees(members) and (view.upto is None or max(seq, rank) <= view.upto):
                key = Key("vectors", collection, name)
                writes.append(Head(key, seq, rank, bool(deleted), lineage, members, bool(source), at, fresh, payload))
        writes.sort(key=lambda write: (write.key.name, write.rank, write.seq))
        newest = (list(group)[-1] for _, group in groupby(writes, key=lambda write: write.key.name))
        return _Seen(writes, {head.key.name: head for head in newest}, at_seq)

    def search(
        self,
        view: View,
        collection: Collection,
        space: str,
        query: Floats,
        k: int,
        where: Mapping[str, Any] | None,
        *,
        exact: bool = False,  # noqa: ARG002 - every search is exact
    ) -> Search:
        """Return the `k` best rows of one embedding space for a query of shape (dim,)."""
        with self._parts.database.reading() as connection:
            seen = self._see(connection, view, collection.name)
        here = [w for w in self._in(seen.writes, space) if where is None or matches(decode(w.payload), where)]
        elsewhere = self._elsewhere(seen, space)
        count = sum(head in elsewhere for head in seen.heads.values())
        matrix = np.array([self._stored[write.seq].vector for write in here], np.float32).reshape(len(here), len(query))
        scores = score_exactly(matrix, query, collection.metric).tolist()
        ranked = best(
            (
                ScoredRow(write.key.name, write.lineage, score, write if seen.heads[write.key.name] is write else None)
                for score, write in zip(scores, here, strict=True)
                if classify(view, write.lineage, seen.above(write)) is not RowClass.DEAD
            ),
            k,
        )
        deciding_rows = (deciding(view, write.lineage, seen.above(write)) for write in elsewhere)
        is_past = view.upto is not None  # no turn reads the past
        return Search(
            [Found(head, score) for head, score in ranked.hits],
            [] if is_past else without_own({name: seen.heads[name] for name in ranked.superseded}, ranked.superseded),
            count,
            frozenset() if is_past else frozenset[Lineage]().union(*deciding_rows),
            exact=True,
            at_seq=seen.at_seq,
        )

    def _in(self, writes: Iterable[Head], space: str) -> list[Head]:
        return [w for w in writes if not w.deleted and w.seq in self._stored and self._stored[w.seq].space == space]

    def _elsewhere(self, seen: _Seen, space: str) -> list[Head]:
        return [
            w for w in seen.writes if not w.deleted and w.seq in self._stored and self._stored[w.seq].space != space
        ]

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""
        with self._parts.database.reading() as connection:
            return _tally(view, self._see(connection, view, collection))

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head."""
        with self._parts.database.reading() as connection:
            seen = self._see(connection, view, collection.name)
        tally = _tally(view, seen)
        seqs = sorted(head.seq for head in self._in(seen.heads.values(), space))
        return SpaceHeads(np.array(seqs, np.int64), tally.count - len(seqs), tally.lineages, tally.at_seq)

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these writes, or raise `PastUnreadable` if one was erased."""
        found = [self._stored.get(head.seq) for head in heads]
        for head, row in zip(heads, found, strict=True):
            if row is None:
                raise PastUnreadable(f"the vector of {head.key.name!r} at seq {head.seq} was purged")
        return [row.vector.copy() for row in found if row is not None]

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return the positions in `seqs` that are rows of an embedding space, and their vectors, read-only."""
        with self._parts.database.reading() as connection:
            vectors = self._vectors_of(connection, collection.name, space)
        there = [place for place, seq in enumerate(seqs.tolist()) if seq in vectors]
        if not there:
            return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
        matrix = np.stack([vectors[int(seqs[place])] for place in there])
        matrix.flags.writeable = False
        return np.array(there, np.int64), matrix


def _tally(view: View, seen: _Seen) -> Tally:
    present = [head for head in seen.heads.values() if not head.deleted]
    gone = {head.lineage for head in seen.heads.values() if head.deleted and not head.lineage <= view.settled}
    return Tally(len(present), frozenset({head.lineage for head in present} | gone), seen.at_seq)
