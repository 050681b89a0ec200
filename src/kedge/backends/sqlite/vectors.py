"""The embedded vector index: exact search over memory-mapped segments, the view a mask over row states."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.database import Database, ForkSafeLock
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.segments import FLOAT_BYTES, SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import State, States
from kedge.errors import Conflict, DamagedSegment
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Search, Tally

_SQL = queries("vectors")
_GATHER_BELOW = 0.3  # of the rows: fewer are copied out and scored alone
_VIEWS_CACHED = 64
_MARGIN = 16  # rows scored again in float64 beyond the k asked for
_HIDDEN, _HEAD, _SUPERSEDED, _DEAD = 0, 1, 2, 3

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


class _Segment:
    """One segment as this process knows it: its rows mapped, and the state of each in memory."""

    def __init__(self, ident: int, space: str, dim: int) -> None:
        self.ident, self.space, self.dim = ident, space, dim
        self.rows = 0
        self.last_change = 0
        self.seqs: Ints = np.empty(0, np.int64)
        self.states: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self.norms: Floats = np.empty(0, np.float32)
        self.matrix: Floats = np.empty((0, dim), np.float32)

    def extend(self, added: list[tuple[int, int]], matrix: Floats) -> None:
        # Interrupted anywhere, it is done again as if it had never begun: `rows` says how far the arrays hold.
        fresh = np.array(added, np.int64).reshape(-1, 2)
        norms = np.concatenate([self.norms[: self.rows], _norms(matrix[self.rows :])])
        self.seqs = np.concatenate([self.seqs[: self.rows], fresh[:, 0]])
        self.states = np.concatenate([self.states[: self.rows], fresh[:, 1].astype(np.int32)])
        self.norms = norms
        self.matrix = matrix
        self.rows = len(norms)

    def change(self, changed: list[tuple[int, int, int]]) -> None:
        states = self.states.copy()  # a search that runs now keeps the array that it took
        for row, state, _ in changed:
            states[row] = state
        self.states = states
        self.last_change = max(self.last_change, *(seq for _, _, seq in changed))


class _Frame(msgspec.Struct, frozen=True):
    """A segment's arrays at the instant of one read transaction."""

    segment: _Segment
    seqs: Ints
    classes: Bytes
    matrix: Floats
    norms: Floats


class _Query(msgspec.Struct, frozen=True):
    """What is searched for."""

    collection: Collection
    space: str
    vector: Floats
    k: int
    where: Mapping[str, Any] | None


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
        self._segments: dict[int, _Segment] = {}
        self._classes: dict[tuple[frozenset[int], frozenset[int]], Bytes] = {}

    # ── collections ──

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection; return the one of that name that is there."""
        found = self.collection(collection.name)
        if found is None:
            with self._database.writing("collection") as connection:
                fields = (collection.name, collection.dim, collection.metric, collection.embedder, at)
                connection.execute(_SQL["collection_insert"], fields)
            found = self.collection(collection.name)
        if found != collection:
            raise Conflict(f"the collection {collection.name!r} exists as {found}, not {collection}; use another name")
        return found

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["collection"], (name,)).fetchone()
        return None if row is None else Collection(*row)

    def collections(self) -> list[Collection]:
        """Return all collections by name."""
        with self._database.connection() as connection:
            return [Collection(*row) for row in connection.execute(_SQL["collections"])]

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None where nothing was written to it."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["segment"], (collection, space)).fetchone()
        return None if row is None else int(row[2])

    # ── keeping up with the journal ──

    def _frames(self, connection: sqlite3.Connection, view: View, collection: str) -> list[_Frame]:
        """Catch up inside a fresh read transaction, and return what it sees. The caller holds the lock."""
        frames = []
        for ident, space, dim, committed in connection.execute(_SQL["segments"], (collection,)).fetchall():
            segment = self._segments.setdefault(ident, _Segment(ident, space, dim))
            self._catch_up(connection, segment, committed)
            frames.append(self._frame(connection, view, segment))
        return frames

    def _catch_up(self, connection: sqlite3.Connection, segment: _Segment, committed: int) -> None:
        if segment.rows == 0:
            segment.last_change = connection.execute(_SQL["last_change"], (segment.ident,)).fetchone()[0]
        if committed > segment.rows:
            added = connection.execute(_SQL["rows_from"], (segment.ident, segment.rows)).fetchall()
            segment.extend(added, self._map(segment, committed))
        changed = connection.execute(_SQL["changed_after"], (segment.ident, segment.last_change)).fetchall()
        if changed:
            segment.change(changed)

    def _map(self, segment: _Segment, rows: int) -> Floats:
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
        return np.memmap(path, np.float32, "r", shape=(rows, segment.dim))

    def _frame(self, connection: sqlite3.Connection, view: View, segment: _Segment) -> _Frame:
        rows = segment.rows
        if view.upto is None:
            classes = self._class_table(connection, view)[segment.states]
        else:
            rows = int(np.searchsorted(segment.seqs, view.upto, side="right"))
            classes = self._past_classes(connection, view, segment, rows)
        return _Frame(segment, segment.seqs[:rows], classes, segment.matrix[:rows], segment.norms[:rows])

    def _class_table(self, connection: sqlite3.Connection, view: View) -> Bytes:
        """Return the class of every state in a view: the visibility rule, as a table."""
        key = (view.seen, view.settled)
        table = self._classes.get(key)
        known = 0 if table is None else len(table)
        states = self._states.known(connection)
        if table is None or known < len(states):
            added = [self._class_of(connection, view, state) for state in states[known:]]
            table = np.concatenate([np.empty(0, np.int8) if table is None else table, np.array(added, np.int8)])
            if len(self._classes) > _VIEWS_CACHED:
                self._classes.clear()
            self._classes[key] = table
        return table

    def _class_of(self, connection: sqlite3.Connection, view: View, state: State) -> int:
        lineage, superseders = state
        if not view.sees(self._interner.members(connection, lineage)):
            return _HIDDEN
        by = [self._interner.members(connection, other) for other in superseders]
        visible = [members for members in by if view.sees(members)]
        if not visible:
            return _HEAD
        return _DEAD if any(members <= view.settled for members in visible) else _SUPERSEDED

    def _past_classes(self, connection: sqlite3.Connection, view: View, segment: _Segment, rows: int) -> Bytes:
        lineage_seen = np.array(
            [view.sees(self._interner.members(connection, lineage)) for lineage, _ in self._states.known(connection)],
            bool,
        )
        classes = np.where(lineage_seen[segment.states[:rows]], _HEAD, _HIDDEN).astype(np.int8)
        for row, lineage in connection.execute(_SQL["supersedes_upto"], (segment.ident, view.upto)):
            if row < rows and classes[row] != _HIDDEN and view.sees(self._interner.members(connection, lineage)):
                classes[row] = _SUPERSEDED
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
    ) -> Search:
        """Return the `k` best rows of one embedding space for a query of shape (dim,)."""
        with ExitStack() as stack:
            with self._lock:
                connection = stack.enter_context(self._database.reading())
                if view.upto is None:
                    check_epoch(connection, view.epoch)
                frames = self._frames(connection, view, collection.name)
                at_seq = self._reader.last_seq(connection)
            return self._search(connection, view, _Query(collection, space, query, k, where), frames, at_seq)

    def _search(
        self, connection: sqlite3.Connection, view: View, asked: _Query, frames: list[_Frame], at_seq: int
    ) -> Search:
        collection, space, query, k, where = asked.collection, asked.space, asked.vector, asked.k, asked.where
        unembedded = sum(int(np.count_nonzero(f.classes == _HEAD)) for f in frames if f.segment.space != space)
        frame = next((f for f in frames if f.segment.space == space), None)
        if frame is None or not len(frame.seqs):
            return Search([], [], unembedded, exact=True, at_seq=at_seq)
        rows, scores = _score(frame, query, collection.metric)
        wanted = k + _MARGIN
        while True:
            top = _best(scores, min(wanted, len(scores)))
            ranked = rows[top]
            heads = self._heads(connection, collection.name, frame, ranked)
            passing = [row for row in ranked if heads[row] is not None and _passes(heads[row], where)]
            present = [row for row in passing if frame.classes[row] == _HEAD]
            if len(present) >= k + _MARGIN // 2 or len(top) == len(scores):
                break
            wanted *= 4
        exact = _score_exactly(frame, np.array(passing, np.int64), query, collection.metric)
        found = [Found(head, exact[row]) for row in present if (head := heads[row]) is not None]
        found.sort(key=lambda hit: (-hit.score, hit.head.key.name))
        found = found[:k]
        floor = found[-1].score if len(found) == k else float("-inf")
        names = {
            head.key.name
            for row in passing
            if frame.classes[row] == _SUPERSEDED and exact[row] >= floor and (head := heads[row]) is not None
        }
        superseders = self._reader.heads_in(connection, view, "vectors", collection.name, sorted(names))
        return Search(found, list(superseders.values()), unembedded, exact=True, at_seq=at_seq)

    def _heads(
        self, connection: sqlite3.Connection, collection: str, frame: _Frame, ranked: Ints
    ) -> dict[int, Head | None]:
        seqs = frame.seqs[ranked].tolist()
        by_seq: dict[int, Head] = {}
        for start in range(0, len(seqs), 5000):
            chunk = json.dumps(seqs[start : start + 5000])
            for seq, name, lineage, rank, source, at, fresh_for, payload in connection.execute(
                _SQL["payloads"], (chunk,)
            ):
                members = self._interner.members(connection, lineage)
                key = Key("vectors", collection, name)
                by_seq[seq] = Head(
                    key=key, seq=seq, rank=rank, deleted=False, lineage_id=lineage, lineage=members,
                    source=bool(source), at=at, fresh_for=fresh_for, payload=payload,
                )  # fmt: skip
        return {row: by_seq.get(seq) for row, seq in zip(ranked.tolist(), seqs, strict=True)}

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these vector writes."""
        found: list[Floats] = []
        with self._database.reading() as connection:
            for head in heads:
                space = self._interner.space(connection, "vectors", head.key.space)
                where = (space, head.key.name, head.rank, head.seq)
                ident, row = connection.execute(_SQL["locate"], where).fetchone()
                found.append(self.row(connection, ident, row))
        return found

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
            frames = self._frames(connection, view, collection)
            known = self._states.known(connection)
            count = 0
            lineages: set[Lineage] = set()
            for frame in frames:
                states = frame.segment.states[: len(frame.seqs)][frame.classes == _HEAD]
                count += len(states)
                for state in np.unique(states).tolist():
                    lineages.add(self._interner.members(connection, known[state][0]))
            lineages |= self._reader.tombstones_in(connection, view, "vectors", collection)
            return Tally(count, frozenset(lineages), self._reader.last_seq(connection))


def _norms(rows: Floats) -> Floats:
    """Return the lengths of rows, squared in float64: a float32 square of 1e-25 is zero, one of 1e25 infinite."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).astype(np.float32)
    return lengths


def _score(frame: _Frame, query: Floats, metric: str) -> tuple[Ints, Floats]:
    """Return the rows that are head or stand behind a visible superseder, and their float32 scores."""
    rows = np.flatnonzero((frame.classes == _HEAD) | (frame.classes == _SUPERSEDED))
    if metric == "cosine":
        query = query / _norms(query[None, :])  # its length changes no order, but the products stay within float32
    if len(rows) < _GATHER_BELOW * len(frame.classes):
        dots = np.asarray(frame.matrix[rows] @ query, np.float32)
    else:
        dots = np.asarray(frame.matrix @ query, np.float32)[rows]
    norms = frame.norms[rows]
    if metric == "cosine":
        dots /= np.maximum(norms, np.float32(1e-30))
    elif metric == "l2":
        dots = 2 * dots - norms * norms
    return rows, dots


def _best(scores: Floats, count: int) -> Ints:
    """Return the positions of the `count` greatest scores, greatest first."""
    if count < len(scores):
        top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    else:
        top = np.arange(len(scores))
    return top[np.argsort(-scores[top], kind="stable")]


def _score_exactly(frame: _Frame, rows: Ints, query: Floats, metric: str) -> dict[int, float]:
    """Return the scores of a few rows in float64: the same for the same vectors, wherever they lie."""
    if not len(rows):
        return {}
    vectors = frame.matrix[rows].astype(np.float64)
    wanted = query.astype(np.float64)
    dots: npt.NDArray[np.float64] = (vectors * wanted).sum(axis=1)
    if metric == "cosine":
        lengths = np.sqrt((vectors * vectors).sum(axis=1)) * np.sqrt((wanted * wanted).sum())
        dots /= np.maximum(lengths, 1e-300)
    elif metric == "l2":
        gaps = vectors - wanted
        dots = -(gaps * gaps).sum(axis=1)
    return dict(zip(rows.tolist(), dots.tolist(), strict=True))


def _passes(head: Head | None, where: Mapping[str, Any] | None) -> bool:
    return where is None or (head is not None and matches(decode(head.payload), where))
