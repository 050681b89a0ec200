"""Vector reader of SQLite: search and lookup over memory-mapped segment files.

A search goes one way: segment snapshots (`segment_snapshots`), then view and filter as one set of rows
(`payload_filters`), then ranking (`ranking`, `ivf`), then the heads of the best rows from the journal.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import numpy as np

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.catalog import Catalog
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.layout import GONE, Packed
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.payload_filters import PassingRows, PayloadFilters
from kedge.backends.sqlite.ranking import WIDER, Ranking, score_exactly
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.segment import HEAD, Ints
from kedge.backends.sqlite.segment_snapshots import SegmentSnapshot, SegmentSnapshots
from kedge.backends.sqlite.segment_writer import SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upkeep import Upkeep
from kedge.errors import PastUnreadable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.ranking import Flags, ScoredRow, best, is_enough, may_rank, without_own
from kedge.model.scores import Scores
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Reclaimed, Search, SpaceHeads, Tally
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("vectors")
T = TypeVar("T")
_MARGIN = 32  # rows scored again in float64 beyond the k asked for
_CHUNK_SEQS = 5_000
_WRITES_CACHED = 20_000
_HEADS_LISTED = 2_000  # up to so many heads of a view are kept by name
_COMPACT_SHARE = 0.05  # of the rows: an explicit compaction rewrites a file only if so many can go


class _Query(msgspec.Struct, frozen=True):
    """The arguments of a search."""

    collection: Collection
    space: str
    vector: Floats
    k: int
    where: Mapping[str, Any] | None
    exact: bool


class _Proposed(msgspec.Struct, frozen=True):
    """Rows to verify; `exact`: every row was compared; `scan_first`: scanning the filter first is cheaper."""

    rows: Ints
    scores: Scores
    is_head: Flags
    exact: bool
    scan_first: bool = False


class SqliteVectors:
    """The `VectorReader`, `VectorIndexer` and `VectorCompactor` of one SQLite database."""

    def __init__(
        self,
        database: Database,
        interner: Interner,
        states: States,
        reader: Reader,
        writer: SegmentWriter,
        upkeep: Upkeep,
    ) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._reader = reader
        self._compactor = upkeep.compactor
        self._catalog = Catalog(database)
        self._lock = ForkSafeLock()
        self._snapshots = SegmentSnapshots(database, states, reader, writer, upkeep)
        self._filters = PayloadFilters()
        self._writes: dict[int, Head] = {}  # those that searches compare by name, by seq

    # ── collections ──

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        return self._catalog.collection(name)

    def collections(self) -> list[Collection]:
        """Return all collections, ordered by name."""
        return self._catalog.collections()

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None if nothing was written to it."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["segment"], (collection, space)).fetchone()
        return None if row is None else int(row[2])

    # ── search ──

    def _retrying(self, look: Callable[[], T]) -> T:
        while True:
            try:
                return look()
            except Packed:
                continue

    def search(
        self,
        view: View,
        collection: Collection,
        space: str,
        query: Floats,
        k: int,
        where: Mapping[str, Any] | None,
        *,
        exact: bool = False,
    ) -> Search:
        """Return the `k` best rows of one embedding space for a query of shape (dim,)."""
        return self._retrying(lambda: self._search_once(view, _Query(collection, space, query, k, where, exact)))

    def _search_once(self, view: View, asked: _Query) -> Search:
        with self._database.reading() as connection:
            with self._lock.here:  # in this order: during a fork, new connections wait for those in use
                if view.upto is None:
                    check_epoch(connection, view.epoch)
                snapshots = self._snapshots.take(connection, view, asked.collection)
                others = [snapshot for snapshot in snapshots if snapshot.segment.space != asked.space]
                # Under the lock: the next search may change the states. No turn reads the past.
                elsewhere = frozenset() if view.upto else self._snapshots.deciding(connection, view, others)
                at_seq = self._reader.last_seq(connection)
            unembedded = sum(snapshot.visible.heads for snapshot in others)
            snapshot = next((snapshot for snapshot in snapshots if snapshot.segment.space == asked.space), None)
            if snapshot is None or not len(snapshot.seqs):
                return Search([], [], unembedded, elsewhere, exact=True, at_seq=at_seq)
            hits, superseders, is_exact = self._rank(connection, view, asked, snapshot)
            return Search(hits, superseders, unembedded, elsewhere, exact=is_exact, at_seq=at_seq)

    def _rank(
        self, connection: sqlite3.Connection, view: View, asked: _Query, snapshot: SegmentSnapshot
    ) -> tuple[list[Found], list[Head], bool]:
        """Return the hits, the heads that superseded rows which would have ranked, and whether all was compared.

        Three steps: resolve view and filter to one set of rows, rank these, then read the heads of the best. Only where
        checking proposed rows would cost more than reading all payloads does ranking start once more, on fewer rows.
        """
        filters, heads = self._filters.of(snapshot.segment), dict[int, Head]()
        passing = filters.resolve(connection, snapshot.seqs, snapshot.visible, asked.collection.fields, asked.where)
        proposed = self._propose(connection, asked, snapshot, passing, heads)
        if proposed.scan_first:
            passing = filters.scan(connection, snapshot.seqs, passing, asked.where or {})
            proposed = self._propose(connection, asked, snapshot, passing, heads)
        hits, superseders = self._verify(connection, view, asked, snapshot, proposed, heads)
        return hits, superseders, proposed.exact

    def _propose(
        self,
        connection: sqlite3.Connection,
        asked: _Query,
        snapshot: SegmentSnapshot,
        passing: PassingRows,
        heads: dict[int, Head],
    ) -> _Proposed:
        """Return the nearest rows that pass the filter: as many as are sure to hold the best heads, or all rows.

        If the filter is not resolved, proposed rows are checked here, by their payloads in `heads`.
        """
        enough = asked.k + _MARGIN // 2
        ranking = Ranking(snapshot, passing.rows, asked.vector, asked.collection.metric, asked.k, _MARGIN)
        batches = ranking.batches(exact=asked.exact)
        while True:
            batch = next(batches)
            rows, unchecked = batch.rows, passing.unchecked
            if unchecked is not None:
                unchecked.lookups += self._fetch(connection, asked.collection.name, snapshot, rows, heads)
                rows = np.array([row for row in rows.tolist() if _passes(heads.get(row), asked.where)], np.int64)
            is_head = snapshot.visible.classes[rows] == HEAD
            present = int(np.count_nonzero(is_head))
            scores = score_exactly(snapshot, rows, asked.vector, asked.collection.metric)
            found = _Proposed(rows, scores, is_head, batch.exact)
            if batch.whole or (is_enough(scores, is_head, asked.k, batch.beyond) if batch.exact else present >= enough):
                return found
            missing = len(batch.rows) * (enough - present) // max(1, present)  # if as many pass as so far
            lookups = max(missing, len(batch.rows) * (WIDER - 1))
            if unchecked is not None and unchecked.is_scan_due(passing.rows, lookups):
                return msgspec.structs.replace(found, scan_first=True)

    def _verify(
        self,
        connection: sqlite3.Connection,
        view: View,
        asked: _Query,
        snapshot: SegmentSnapshot,
        proposed: _Proposed,
        heads: dict[int, Head],
    ) -> tuple[list[Found], list[Head]]:
        """Return the `k` best heads, and the heads that superseded rows which would rank among these."""
        name, chosen = asked.collection.name, may_rank(proposed.scores, proposed.is_head, asked.k)
        rows, scores, is_head = proposed.rows[chosen], proposed.scores[chosen], proposed.is_head[chosen]
        self._fetch(connection, name, snapshot, rows[is_head], heads)
        ranked = [
            ScoredRow(heads[row].key.name, heads[row].lineage, score, heads[row])
            for row, score in zip(rows[is_head].tolist(), scores[is_head].tolist(), strict=True)
            if row in heads
        ]
        others = snapshot.seqs[rows[~is_head]].tolist()
        written = self._written(connection, name, others)
        ranked += [
            ScoredRow(written[seq].key.name, written[seq].lineage, score)
            for seq, score in zip(others, scores[~is_head].tolist(), strict=True)
            if seq in written
        ]
        found = best(ranked, asked.k)
        over = self._heads_at(connection, view, name, snapshot, sorted(found.superseded)) if found.superseded else {}
        return [Found(head, score) for head, score in found.hits], without_own(over, found.superseded)

    def _heads_at(
        self, connection: sqlite3.Connection, view: View, collection: str, snapshot: SegmentSnapshot, names: list[str]
    ) -> dict[str, Head]:
        """Return the heads at these names, in order, without payloads."""
        visible = snapshot.visible
        if visible.heads_by_name is None and visible.heads <= _HEADS_LISTED:
            seqs = snapshot.seqs[visible.classes == HEAD].tolist()
            written = self._written(connection, collection, seqs)
            visible.heads_by_name = {written[seq].key.name: written[seq] for seq in seqs if seq in written}
        here = visible.heads_by_name or {}
        others = [name for name in names if name not in here]  # deleted, or in another space
        found = self._reader.heads_in(connection, view, "vectors", collection, others, payloads=False) if others else {}
        return {name: here.get(name) or found[name] for name in names if name in here or name in found}

    def _written(self, connection: sqlite3.Connection, collection: str, seqs: Sequence[int]) -> dict[int, Head]:
        """Return writes of a collection by seq, without payloads: these and others.

        The same rows rank in search after search, so that most are cached.
        """
        known = self._writes
        missing = [seq for seq in seqs if seq not in known]
        if missing:
            if len(known) + len(missing) > _WRITES_CACHED:
                known = self._writes = {}
                missing = list(seqs)
            members = self._interner.members
            for seq, name, lineage, rank in connection.execute(_SQL["written"], (json.dumps(missing),)).fetchall():
                key = Key("vectors", collection, name)
                known[seq] = Head(
                    key, seq, rank, deleted=False, lineage_id=lineage, lineage=members(connection, lineage)
                )
        return known

    def _fetch(
        self,
        connection: sqlite3.Connection,
        collection: str,
        snapshot: SegmentSnapshot,
        rows: Ints,
        heads: dict[int, Head],
    ) -> int:
        """Read the writes of the rows that are not in `heads` yet, and return how many they were."""
        wanted = [row for row in rows.tolist() if row not in heads]
        row_of = dict(zip(snapshot.seqs[wanted].tolist(), wanted, strict=True)) if wanted else {}
        seqs = list(row_of)
        for start in range(0, len(seqs), _CHUNK_SEQS):
            chunk = json.dumps(seqs[start : start + _CHUNK_SEQS])
            found = connection.execute(_SQL["payloads"], (chunk,))
            for seq, name, lineage, rank, source, at, fresh_for, payload in found:
                heads[row_of[seq]] = Head(
                    key=Key("vectors", collection, name), seq=seq, rank=rank, deleted=False, lineage_id=lineage,
                    lineage=self._interner.members(connection, lineage), source=bool(source), at=at,
                    fresh_for=fresh_for, payload=payload,
                )  # fmt: skip
        return len(wanted)

    def optimize(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> int:
        """Index the rows of a collection that are not indexed yet; return the number of indexed rows."""
        self._database.check_writable()
        return self._retrying(lambda: self._optimize_once(collection, progress))

    def _optimize_once(self, collection: Collection, progress: Callable[[int, int], None] | None) -> int:
        with self._database.reading() as connection, self._lock.here:
            segments = self._snapshots.segments(connection, collection)
            for segment in segments:
                self._snapshots.save(connection, segment)
        segments = [segment for segment in segments if segment.rows >= ivf.ROWS_MIN]
        indexed = sum(self._snapshots.indexes.build(segment, collection.metric, progress) for segment in segments)
        self._snapshots.indexes.forget()
        return indexed

    def reclaimed(self, collection: str) -> int:
        """Return the seq before which a collection is readable at snapshots only."""
        return self._compactor.reclaimed(collection)

    def compact(
        self, collection: Collection, progress: Callable[[int, int], None] | None = None, *, logged: bool = True
    ) -> Reclaimed:
        """Rewrite segment files without rows that no view can need any more, if these are more than a few percent."""
        self._database.check_writable()
        done = [
            self._compactor.compact(segment, share=_COMPACT_SHARE, wait=True, progress=progress, logged=logged)
            for segment in self._compactor.segments_of(collection.name)
        ]
        return Reclaimed(sum(one.rows for one in done), sum(one.bytes for one in done))

    def close(self) -> None:
        """Save the row data of the segments for the next process."""
        with self._lock.here:
            self._snapshots.close()

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these vector writes, or raise `PastUnreadable`."""
        return self._retrying(lambda: self._vectors_once(heads))

    def _vectors_once(self, heads: Sequence[Head]) -> list[Floats]:
        found: dict[int, Floats] = {}
        with self._database.reading() as connection:
            places = connection.execute(_SQL["locate"], (json.dumps([head.seq for head in heads]),)).fetchall()
            for (ident, dim, committed, *packed), group in groupby(places, key=lambda place: place[2:]):
                asked, numbers = np.array([place[:2] for place in group], np.int64).T
                layout = self._compactor.layouts.of(connection, ident, *packed)
                positions = layout.positions(numbers)
                asked, positions = asked[positions != GONE], positions[positions != GONE]
                taken = self._snapshots.vectors(layout, dim, committed, positions)
                found.update(zip(asked.tolist(), taken, strict=True))
        for number, head in enumerate(heads):
            if number not in found:
                raise PastUnreadable(
                    f"the vector of {head.key.name!r} that was written at seq {head.seq} was reclaimed by a "
                    "compaction: it was purged, or superseded before the horizon; read at a later point"
                )
        return [found[number] for number in range(len(heads))]

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""
        return self._retrying(lambda: self._tally_once(view, collection))

    def _tally_once(self, view: View, collection: str) -> Tally:
        with self._database.reading() as connection, self._lock.here:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            found = self.collection(collection)
            snapshots = [] if found is None else self._snapshots.take(connection, view, found)
            lineages = self._head_lineages(connection, view, snapshots, collection)
            return Tally(
                sum(snapshot.visible.heads for snapshot in snapshots), lineages, self._reader.last_seq(connection)
            )

    def _head_lineages(
        self, connection: sqlite3.Connection, view: View, snapshots: list[SegmentSnapshot], collection: str
    ) -> frozenset[Lineage]:
        """Return the lineages of all heads of a collection, the revocable ones of its tombstones among them."""
        states = {
            state
            for snapshot in snapshots
            for state in np.unique(
                snapshot.segment.states[: len(snapshot.seqs)][snapshot.visible.classes == HEAD]
            ).tolist()
        }
        known = self._states.known(connection, states)
        lineages = {self._interner.members(connection, known[state][0]) for state in states}
        return frozenset(lineages | self._reader.tombstones_in(connection, view, "vectors", collection))

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: the rows that an iteration visits."""
        return self._retrying(lambda: self._space_heads_once(view, collection, space))

    def _space_heads_once(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        with self._database.reading() as connection, self._lock.here:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            snapshots = self._snapshots.take(connection, view, collection)
            lineages = self._head_lineages(connection, view, snapshots, collection.name)
            here = [snapshot for snapshot in snapshots if snapshot.segment.space == space]
            seqs = [snapshot.seqs[snapshot.visible.classes == HEAD] for snapshot in here]
            others = sum(snapshot.visible.heads for snapshot in snapshots if snapshot.segment.space != space)
            at_seq = self._reader.last_seq(connection)
        return SpaceHeads(np.concatenate([np.empty(0, np.int64), *seqs]), others, lineages, at_seq)

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return the positions in `seqs` that are rows of an embedding space, and their vectors, read-only."""
        return self._retrying(lambda: self._matrix_once(collection, space, seqs))

    def _matrix_once(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        with self._database.reading() as connection, self._lock.here:
            found = self._snapshots.segments(connection, collection, space)
            if not found:
                return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
            known, matrix = found[0].seqs, found[0].matrix
        rows = np.minimum(np.searchsorted(known, seqs), max(0, len(known) - 1))
        there = np.flatnonzero(known[rows] == seqs) if len(known) else np.empty(0, np.int64)
        return there, _window(matrix, rows[there])


def _window(matrix: Floats, rows: Ints) -> Floats:
    """Return these rows, read-only: a slice of the mapped file if they are contiguous, else a copy."""
    first = int(rows[0]) if len(rows) else 0
    if np.array_equal(rows, np.arange(first, first + len(rows))):
        return matrix[first : first + len(rows)]
    taken = matrix[rows]
    taken.flags.writeable = False
    return taken


def _passes(head: Head | None, where: Mapping[str, Any] | None) -> bool:
    return where is None or (head is not None and matches(decode(head.payload), where))
