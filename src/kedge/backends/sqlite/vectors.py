"""The embedded vector index: exact search over memory-mapped segments, the view a mask over row states."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import numpy as np

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.catalog import Catalog
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.frames import Frames
from kedge.backends.sqlite.layout import GONE, Packed
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.masks import Masks, Narrowing
from kedge.backends.sqlite.ranking import WIDER, Frame, ranked, score_exactly
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.segment import HEAD, SUPERSEDED, Ints
from kedge.backends.sqlite.segments import SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upkeep import Upkeep
from kedge.errors import PastUnreadable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Reclaimed, Search, SpaceHeads, Tally
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("vectors")
T = TypeVar("T")
_MARGIN = 32  # rows scored again in float64 beyond the k asked for
_CHUNK_SEQS = 5_000
_SHARE_WORTH_IT = 0.05  # of the rows, to rewrite a file for when that is asked for


class _Query(msgspec.Struct, frozen=True):
    """What is searched for."""

    collection: Collection
    space: str
    vector: Floats
    k: int
    where: Mapping[str, Any] | None
    exact: bool


class SqliteVectors:
    """The vector index beside one SQLite database."""

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
        self._frames = Frames(database, interner, states, writer, upkeep)
        self._masks = Masks()

    # ── collections ──

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        return self._catalog.collection(name)

    def collections(self) -> list[Collection]:
        """Return all collections, ordered by name."""
        return self._catalog.collections()

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None where nothing was written to it."""
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
        with ExitStack() as stack:
            with self._lock:
                connection = stack.enter_context(self._database.reading())
                if view.upto is None:
                    check_epoch(connection, view.epoch)
                frames = self._frames.of(connection, view, asked.collection)
                others = [frame for frame in frames if frame.segment.space != asked.space]
                elsewhere = self._lineages_of(connection, view, others)  # of states that the next search may change
                at_seq = self._reader.last_seq(connection)
            unembedded = sum(frame.shown.heads for frame in others)
            frame = next((frame for frame in frames if frame.segment.space == asked.space), None)
            if frame is None or not len(frame.seqs):
                return Search([], [], unembedded, elsewhere, exact=True, at_seq=at_seq)
            hits, superseders, is_exact = self._search(connection, view, asked, frame)
            return Search(hits, superseders, unembedded, elsewhere, exact=is_exact, at_seq=at_seq)

    def _search(
        self, connection: sqlite3.Connection, view: View, asked: _Query, frame: Frame
    ) -> tuple[list[Found], list[Head], bool]:
        """Return the hits, the heads that superseded rows which would have ranked, and whether all was compared."""
        collection, query, k = asked.collection, asked.vector, asked.k
        classes = frame.shown.classes
        heads: dict[int, Head] = {}
        narrowing = self._masks.narrowing(connection, frame, collection.fields, asked.where)
        rows, is_exact = self._candidates(connection, asked, narrowing, heads)
        present = rows[classes[rows] == HEAD]
        scores = dict(zip(rows.tolist(), score_exactly(frame, rows, query, collection.metric).tolist(), strict=True))
        ordered = sorted((scores[row] for row in present.tolist()), reverse=True)
        floor = ordered[k - 1] if len(ordered) >= k else float("-inf")
        chosen = np.array([row for row in rows.tolist() if scores[row] >= floor], np.int64)
        self._fetch(connection, collection.name, frame, chosen, heads)
        hits = [Found(heads[row], scores[row]) for row in chosen.tolist() if classes[row] == HEAD and row in heads]
        hits.sort(key=lambda hit: (-hit.score, hit.head.key.name))
        gone = {heads[row].key.name for row in chosen.tolist() if classes[row] == SUPERSEDED and row in heads}
        superseders = self._reader.heads_in(connection, view, "vectors", collection.name, sorted(gone)) if gone else {}
        return hits[:k], list(superseders.values()), is_exact

    def _candidates(
        self, connection: sqlite3.Connection, asked: _Query, narrowing: Narrowing, heads: dict[int, Head]
    ) -> tuple[Ints, bool]:
        """Return the nearest rows that pass the filter, enough heads among them or all, and whether that is exact."""
        enough = asked.k + _MARGIN // 2
        while True:
            frame = narrowing.frame
            for best in ranked(frame, asked.vector, asked.collection.metric, asked.k, _MARGIN, exact=asked.exact):
                rows = best.rows
                if not narrowing.is_decided:
                    narrowing.spend(self._fetch(connection, asked.collection.name, frame, rows, heads))
                    rows = np.array([row for row in rows.tolist() if _passes(heads.get(row), asked.where)], np.int64)
                present = int(np.count_nonzero(frame.shown.classes[rows] == HEAD))
                if present >= enough or best.whole:
                    return rows, best.exact
                missing = len(best.rows) * (enough - present) // max(1, present)  # if as many pass as so far
                if narrowing.decide(lookups=max(missing, len(best.rows) * (WIDER - 1))):
                    break

    def _lineages_of(self, connection: sqlite3.Connection, view: View, frames: list[Frame]) -> frozenset[Lineage]:
        """Return the lineages that decide how many rows of these frames are head: theirs, and their superseders'.

        The caller holds the lock, under which the frames were made.
        """
        known = self._states.known(connection)
        members = self._interner.members
        found: set[Lineage] = set()
        for frame in frames:
            for state in frame.segment.states_present.tolist():
                own, superseders = known[state]
                if view.sees(members(connection, own)):
                    seen = [members(connection, other) for other in superseders]
                    found |= {members(connection, own)} | {other for other in seen if view.sees(other)}
        return frozenset(lineage for lineage in found if not lineage <= view.settled)

    def _fetch(
        self, connection: sqlite3.Connection, collection: str, frame: Frame, rows: Ints, heads: dict[int, Head]
    ) -> int:
        """Look up the writes of those rows that are not among `heads` yet, and say how many they were."""
        wanted = [row for row in rows.tolist() if row not in heads]
        row_of = dict(zip(frame.seqs[wanted].tolist(), wanted, strict=True)) if wanted else {}
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
        """Index the rows of a collection that are not indexed yet; return how many are then."""
        self._database.check_writable()
        return self._retrying(lambda: self._optimize_once(collection, progress))

    def _optimize_once(self, collection: Collection, progress: Callable[[int, int], None] | None) -> int:
        with self._lock, self._database.reading() as connection:
            segments = self._frames.segments(connection, collection)
            for segment in segments:
                self._frames.keep(connection, segment)
        segments = [segment for segment in segments if segment.rows >= ivf.ROWS_MIN]
        indexed = sum(self._frames.indexes.build(segment, collection.metric, progress) for segment in segments)
        self._frames.indexes.forget()
        return indexed

    def compact(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> Reclaimed:
        """Take the rows that no view can need any more out of the files, where they are more than a few."""
        self._database.check_writable()
        done = [
            self._compactor.compact(segment, share=_SHARE_WORTH_IT, wait=True, progress=progress)
            for segment in self._compactor.segments_of(collection.name)
        ]
        return Reclaimed(sum(one.rows for one in done), sum(one.bytes for one in done))

    def close(self) -> None:
        """Keep for the next process what this one knows of the rows."""
        with self._lock:
            self._frames.close()

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
                taken = self._frames.vectors(layout, dim, committed, positions)
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
        with self._lock, self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            found = self.collection(collection)
            frames = [] if found is None else self._frames.of(connection, view, found)
            lineages = self._head_lineages(connection, view, frames, collection)
            return Tally(sum(frame.shown.heads for frame in frames), lineages, self._reader.last_seq(connection))

    def _head_lineages(
        self, connection: sqlite3.Connection, view: View, frames: list[Frame], collection: str
    ) -> frozenset[Lineage]:
        """Return the lineages of all heads of a collection, the revocable ones of its tombstones among them."""
        known = self._states.known(connection)
        states = {
            state
            for frame in frames
            for state in np.unique(frame.segment.states[: len(frame.seqs)][frame.shown.classes == HEAD]).tolist()
        }
        lineages = {self._interner.members(connection, known[state][0]) for state in states}
        return frozenset(lineages | self._reader.tombstones_in(connection, view, "vectors", collection))

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: what an iteration goes through."""
        return self._retrying(lambda: self._space_heads_once(view, collection, space))

    def _space_heads_once(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        with self._lock, self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            frames = self._frames.of(connection, view, collection)
            lineages = self._head_lineages(connection, view, frames, collection.name)
            here = [frame for frame in frames if frame.segment.space == space]
            seqs = [frame.seqs[frame.shown.classes == HEAD] for frame in here]
            others = sum(frame.shown.heads for frame in frames if frame.segment.space != space)
            at_seq = self._reader.last_seq(connection)
        return SpaceHeads(np.concatenate([np.empty(0, np.int64), *seqs]), others, lineages, at_seq)

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return which of these seqs, by position, are rows of an embedding space, and their vectors, read-only."""
        return self._retrying(lambda: self._matrix_once(collection, space, seqs))

    def _matrix_once(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        with self._lock, self._database.reading() as connection:
            found = self._frames.segments(connection, collection, space)
            if not found:
                return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
            known, matrix = found[0].seqs, found[0].matrix
        rows = np.minimum(np.searchsorted(known, seqs), max(0, len(known) - 1))
        there = np.flatnonzero(known[rows] == seqs) if len(known) else np.empty(0, np.int64)
        return there, _window(matrix, rows[there])


def _window(matrix: Floats, rows: Ints) -> Floats:
    """Return these rows, read-only: a part of the mapped file where they lie beside one another, else a copy."""
    first = int(rows[0]) if len(rows) else 0
    if np.array_equal(rows, np.arange(first, first + len(rows))):
        return matrix[first : first + len(rows)]
    taken = matrix[rows]
    taken.flags.writeable = False
    return taken


def _passes(head: Head | None, where: Mapping[str, Any] | None) -> bool:
    return where is None or (head is not None and matches(decode(head.payload), where))
