"""The embedded vector index: exact search over memory-mapped segments, the view a mask over row states."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.indexes import Indexes
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.masks import Masks, Narrowing
from kedge.backends.sqlite.ranking import WIDER, Frame, ranked, score_exactly
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.rowcache import RowCache
from kedge.backends.sqlite.segment import DEAD, HEAD, HIDDEN, SUPERSEDED, Bytes, Ints, Segment, Shown
from kedge.backends.sqlite.segments import FLOAT_BYTES, SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import State, States
from kedge.errors import Conflict, DamagedSegment, Retryable
from kedge.forks import ForkSafeLock
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Search, SpaceHeads, Tally

_SQL = queries("vectors")
_MARGIN = 32  # rows scored again in float64 beyond the k asked for
_TABLES_CACHED = 64
_CHUNK_SEQS = 5_000
_FEW_ROWS = 4


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
        self, database: Database, interner: Interner, states: States, reader: Reader, writer: SegmentWriter
    ) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._reader = reader
        self._writer = writer
        self._lock = ForkSafeLock()
        self._segments: dict[int, Segment] = {}
        self._indexes = Indexes(database, writer)
        self._masks = Masks()
        self._kept = RowCache(writer.folder, read_only=database.read_only)
        self._classes: dict[tuple[frozenset[int], frozenset[int]], Bytes] = {}

    # ── collections ──

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to those of the one of that name that is there; return what is."""
        found = self.collection(collection.name)
        if found is None or not set(collection.fields) <= set(found.fields):
            with self._database.writing("collection") as connection:
                settings = (collection.name, collection.dim, collection.metric, collection.embedder, at)
                connection.execute(_SQL["collection_insert"], settings)
                found = _collection(connection.execute(_SQL["collection"], (collection.name,)).fetchone())
                _check_same(found, collection)
                found = msgspec.structs.replace(found, fields=(*dict.fromkeys((*found.fields, *collection.fields)),))
                connection.execute(_SQL["collection_fields"], (json.dumps(found.fields), found.name))
        _check_same(found, collection)
        return found

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["collection"], (name,)).fetchone()
        return None if row is None else _collection(row)

    def collections(self) -> list[Collection]:
        """Return all collections by name."""
        with self._database.connection() as connection:
            return [_collection(row) for row in connection.execute(_SQL["collections"])]

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None where nothing was written to it."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["segment"], (collection, space)).fetchone()
        return None if row is None else int(row[2])

    # ── keeping up with the journal ──

    def _frames(self, connection: sqlite3.Connection, view: View, collection: Collection) -> list[Frame]:
        """Catch up inside a fresh read transaction, and return what it sees. The caller holds the lock."""
        frames = []
        for ident, space, dim, committed in connection.execute(_SQL["segments"], (collection.name,)).fetchall():
            segment = self._segments.setdefault(ident, Segment(ident, space, dim))
            self._catch_up(connection, segment, committed)
            frames.append(self._frame(connection, view, segment, collection.metric))
        return frames

    def _catch_up(self, connection: sqlite3.Connection, segment: Segment, committed: int) -> None:
        if committed > segment.rows:
            matrix = self._map(segment, committed)
            if segment.rows == 0 and not self._kept.recall(connection, segment, matrix):
                segment.last_change = connection.execute(_SQL["last_change"], (segment.ident,)).fetchone()[0]
            added = connection.execute(_SQL["rows_from"], (segment.ident, segment.rows))
            fresh = np.fromiter((number for row in added for number in row), np.int64).reshape(-1, 2)
            segment.extend(fresh[:, 0], fresh[:, 1].astype(np.int32), matrix)
        changed = connection.execute(_SQL["changed_after"], (segment.ident, segment.last_change)).fetchall()
        if changed:
            rows, states, seqs = np.array(changed, np.int64).T
            segment.change(rows, states.astype(np.int32), int(seqs.max()))
        self._kept.follow(connection, segment)

    def _map(self, segment: Segment, rows: int) -> Floats:
        path = self._writer.path(segment.ident)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DamagedSegment(f"the segment {path} cannot be read ({error.strerror}); restore it") from error
        if size < rows * segment.dim * FLOAT_BYTES:
            raise DamagedSegment(
                f"the segment {path} has {size} bytes, {rows * segment.dim * FLOAT_BYTES} were committed; "
                "restore it from a backup"
            )
        return np.asarray(np.memmap(path, np.float32, "r", shape=(rows, segment.dim)))

    def _frame(self, connection: sqlite3.Connection, view: View, segment: Segment, metric: str) -> Frame:
        if view.upto is None:
            shown = segment.shown((view.seen, view.settled), self._class_table(connection, view))
            index = self._indexes.of(connection, segment, metric)
            return Frame(segment, segment.seqs, shown, segment.matrix, segment.norms, index)
        rows = int(np.searchsorted(segment.seqs, view.upto, side="right"))
        shown = Shown.of(self._past_classes(connection, view, segment, rows))
        return Frame(segment, segment.seqs[:rows], shown, segment.matrix[:rows], segment.norms[:rows], None)

    def _class_table(self, connection: sqlite3.Connection, view: View) -> Bytes:
        """Return the class of every state in a view: the visibility rule, as a table."""
        key = (view.seen, view.settled)
        table = self._classes.get(key)
        known = 0 if table is None else len(table)
        states = self._states.known(connection)
        if table is None or known < len(states):
            added = [self._class_of(connection, view, state) for state in states[known:]]
            table = np.concatenate([np.empty(0, np.int8) if table is None else table, np.array(added, np.int8)])
            if len(self._classes) > _TABLES_CACHED:
                self._classes.clear()
            self._classes[key] = table
        return table

    def _class_of(self, connection: sqlite3.Connection, view: View, state: State) -> int:
        lineage, superseders = state
        if not view.sees(self._interner.members(connection, lineage)):
            return HIDDEN
        by = [self._interner.members(connection, other) for other in superseders]
        visible = [members for members in by if view.sees(members)]
        if not visible:
            return HEAD
        return DEAD if any(members <= view.settled for members in visible) else SUPERSEDED

    def _past_classes(self, connection: sqlite3.Connection, view: View, segment: Segment, rows: int) -> Bytes:
        lineage_seen = np.array(
            [view.sees(self._interner.members(connection, lineage)) for lineage, _ in self._states.known(connection)],
            bool,
        )
        classes = np.where(lineage_seen[segment.states[:rows]], HEAD, HIDDEN).astype(np.int8)
        for row, lineage in connection.execute(_SQL["supersedes_upto"], (segment.ident, view.upto)):
            if row < rows and classes[row] != HIDDEN and view.sees(self._interner.members(connection, lineage)):
                classes[row] = SUPERSEDED
        return classes

    # ── search ──

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
        with ExitStack() as stack:
            with self._lock:
                connection = stack.enter_context(self._database.reading())
                if view.upto is None:
                    check_epoch(connection, view.epoch)
                frames = self._frames(connection, view, collection)
                at_seq = self._reader.last_seq(connection)
            return self._search(connection, view, _Query(collection, space, query, k, where, exact), frames, at_seq)

    def _search(
        self, connection: sqlite3.Connection, view: View, asked: _Query, frames: list[Frame], at_seq: int
    ) -> Search:
        collection, query, k = asked.collection, asked.vector, asked.k
        others = [frame for frame in frames if frame.segment.space != asked.space]
        unembedded = sum(frame.shown.heads for frame in others)
        elsewhere = self._lineages_of(connection, view, others)
        frame = next((frame for frame in frames if frame.segment.space == asked.space), None)
        if frame is None or not len(frame.seqs):
            return Search([], [], unembedded, elsewhere, exact=True, at_seq=at_seq)
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
        return Search(hits[:k], list(superseders.values()), unembedded, elsewhere, exact=is_exact, at_seq=at_seq)

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
        """Return the lineages that decide how many rows of these frames are head: theirs, and their superseders'."""
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
        with self._lock, self._database.reading() as connection:
            rows = connection.execute(_SQL["segments"], (collection.name,)).fetchall()
            segments = [self._segments.setdefault(ident, Segment(ident, space, dim)) for ident, space, dim, _ in rows]
            for segment, (_, _, _, committed) in zip(segments, rows, strict=True):
                self._catch_up(connection, segment, committed)
                self._kept.keep(connection, segment)
        segments = [segment for segment in segments if segment.rows >= ivf.ROWS_MIN]
        indexed = sum(self._indexes.build(segment, collection.metric, progress) for segment in segments)
        self._indexes.forget()
        return indexed

    def close(self) -> None:
        """Keep for the next process what this one knows of the rows."""
        with self._lock:
            for segment in filter(self._kept.is_due, self._segments.values()):
                with self._database.connection() as connection:
                    self._kept.keep(connection, segment)
            self._kept.join()

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these vector writes."""
        asked = json.dumps([head.seq for head in heads])
        with self._database.reading() as connection:
            places = connection.execute(_SQL["locate"], (asked,)).fetchall()
            found: dict[int, Floats] = {}
            for (ident, space, dim, rows), group in groupby(places, key=lambda place: place[:4]):
                numbers, positions = zip(*(place[4:] for place in group), strict=True)
                if len(numbers) <= _FEW_ROWS:  # to map a file costs more
                    taken: Sequence[Floats] = [self.row(connection, ident, number) for number in numbers]
                else:
                    taken = list(self._map(Segment(ident, space, dim), rows)[list(numbers)])
                found.update(zip(positions, taken, strict=True))
        if len(found) < len(heads):
            raise Retryable(f"rows of {heads[0].key.space!r} were compacted away while they were read; read them again")
        return [found[position] for position in range(len(heads))]

    def row(self, connection: sqlite3.Connection, ident: int, row: int) -> Floats:
        """Return one stored row as a copy."""
        dim = connection.execute("SELECT dim FROM segments WHERE id = ?", (ident,)).fetchone()[0]
        path = self._writer.path(ident)
        try:
            with path.open("rb") as file:
                file.seek(row * dim * FLOAT_BYTES)
                content = file.read(dim * FLOAT_BYTES)
        except OSError as error:
            raise DamagedSegment(f"the segment {path} cannot be read ({error.strerror}); restore it") from error
        if len(content) < dim * FLOAT_BYTES:
            raise DamagedSegment(f"the segment {path} ends before row {row}; restore it from a backup")
        return np.frombuffer(content, np.float32).copy()

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""
        with self._lock, self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            found = self.collection(collection)
            frames = [] if found is None else self._frames(connection, view, found)
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
        with self._lock, self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            frames = self._frames(connection, view, collection)
            lineages = self._head_lineages(connection, view, frames, collection.name)
            here = [frame for frame in frames if frame.segment.space == space]
            seqs = [frame.seqs[frame.shown.classes == HEAD] for frame in here]
            others = sum(frame.shown.heads for frame in frames if frame.segment.space != space)
            at_seq = self._reader.last_seq(connection)
        return SpaceHeads(np.concatenate([np.empty(0, np.int64), *seqs]), others, lineages, at_seq)

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return which of these seqs, by position, are rows of an embedding space, and their vectors, read-only."""
        with self._lock, self._database.reading() as connection:
            found = connection.execute(_SQL["segment"], (collection.name, space)).fetchone()
            if found is None:
                return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
            ident, committed, dim = found
            segment = self._segments.setdefault(ident, Segment(ident, space, dim))
            self._catch_up(connection, segment, committed)
            known, matrix = segment.seqs, segment.matrix
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


def _collection(row: tuple[str, int, str, str, str]) -> Collection:
    name, dim, metric, embedder, fields = row
    return Collection(name, dim, metric, embedder, tuple(json.loads(fields)))


def _check_same(found: Collection, wanted: Collection) -> None:
    """Raise `Conflict` for settings other than those that are there; fields may differ, since they can be added."""
    if msgspec.structs.replace(found, fields=wanted.fields) != wanted:
        raise Conflict(f"the collection {wanted.name!r} exists as {found}, not {wanted}; use another name")
