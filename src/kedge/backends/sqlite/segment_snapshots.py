"""Segment snapshots: the segments of this process as one read transaction and one view see them.

Rows are added and states changed by any process. A search first brings its segments up to date from SQLite, in the read
transaction in which it will search. Then it takes a snapshot: arrays that later changes do not touch.
"""

import sqlite3
from collections.abc import Sequence

import msgspec
import numpy as np

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.indexes import Indexes
from kedge.backends.sqlite.ivf import IvfIndex
from kedge.backends.sqlite.layout import GONE, Layout
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.row_cache import RowCache
from kedge.backends.sqlite.segment import DEAD, HEAD, HIDDEN, Bytes, Ints, Segment, VisibleRows
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES, SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upkeep import Upkeep
from kedge.errors import DamagedSegment
from kedge.model.compaction import check_readable
from kedge.model.visibility import View
from kedge.ports.vectors import Collection, Floats

_SQL = queries("vectors")
_COMPACTION = queries("compaction")
_TABLES_CACHED = 64
_FEW_ROWS = 4


class SegmentSnapshot(msgspec.Struct, frozen=True):
    """The arrays of a segment in one read transaction, and the rows that a view sees. `index` is None for the past."""

    segment: Segment
    seqs: Ints
    visible: VisibleRows
    matrix: Floats
    norms: Floats
    index: IvfIndex | None


class SegmentSnapshots:
    """The segments of this process. The caller holds a lock, except in `vectors`.

    Methods raise `Packed` if a compaction has replaced a file: the caller repeats its search in a new transaction.
    """

    def __init__(
        self, database: Database, interner: Interner, states: States, writer: SegmentWriter, upkeep: Upkeep
    ) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._writer = writer
        self._upkeep = upkeep
        self._layouts = upkeep.compactor.layouts
        self._segments: dict[int, Segment] = {}
        self._classes: dict[tuple[frozenset[int], frozenset[int]], Bytes] = {}
        self.indexes = Indexes(database, writer)
        self._row_cache = RowCache(writer.folder, read_only=database.read_only)

    # ── catching up with the journal ──

    def take(self, connection: sqlite3.Connection, view: View, collection: Collection) -> list[SegmentSnapshot]:
        """Catch up inside a fresh read transaction, and return a snapshot of each segment of a collection."""
        if view.upto is not None and connection.execute(_COMPACTION["is_snapshot"], (view.upto,)).fetchone() is None:
            check_readable(view.upto, connection.execute(_COMPACTION["reclaimed"]).fetchone()[0])
        segments = self.segments(connection, collection)
        return [self._snapshot(connection, view, segment, collection.metric) for segment in segments]

    def segments(
        self, connection: sqlite3.Connection, collection: Collection, space: str | None = None
    ) -> list[Segment]:
        """Catch up inside a fresh read transaction, and return a collection's segments, or that of one space."""
        self._upkeep.consider()
        found = connection.execute(_SQL["segments"], (collection.name,)).fetchall()
        return [self._caught_up(connection, row) for row in found if space is None or row[1] == space]

    def _caught_up(self, connection: sqlite3.Connection, row: tuple[int, str, int, int, int, int]) -> Segment:
        ident, space, dim, committed, packing, gone = row
        layout = self._layouts.of(connection, ident, packing, gone)
        segment = self._segments.get(ident)
        if segment is None or segment.layout.packing != packing:  # all that is known by position is dropped with it
            segment = self._segments[ident] = Segment(layout, space, dim)
        self._catch_up(connection, segment, committed)
        return segment

    def _catch_up(self, connection: sqlite3.Connection, segment: Segment, committed: int) -> None:
        layout = segment.layout
        if committed > segment.rows:
            matrix = self._map(layout, segment.dim, committed)
            if segment.rows == 0 and not self._row_cache.load(connection, segment, matrix):
                segment.last_change = connection.execute(_SQL["last_change"], (segment.ident,)).fetchone()[0]
            first = layout.number(segment.rows)
            added = connection.execute(_SQL["rows_from"], (segment.ident, first))
            fresh = np.fromiter((number for row in added for number in row), np.int64).reshape(-1, 3)
            if first < layout.below:
                fresh = fresh[layout.positions(fresh[:, 0]) != GONE]
            segment.extend(fresh[:, 1], fresh[:, 2].astype(np.int32), matrix)
        changed = connection.execute(_SQL["changed_after"], (segment.ident, segment.last_change)).fetchall()
        if changed:
            numbers, states, seqs = np.array(changed, np.int64).T
            rows = layout.positions(numbers)
            segment.change(rows[rows != GONE], states[rows != GONE].astype(np.int32), int(seqs.max()))
        self._row_cache.save_in_background(connection, segment)

    def save(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Save the segment's row data in a file for other processes."""
        self._row_cache.save(connection, segment)

    def close(self) -> None:
        """Save the row data of large segments in files for the next process."""
        for segment in filter(self._row_cache.is_due, self._segments.values()):
            with self._database.connection() as connection:
                self._row_cache.save(connection, segment)
        self._row_cache.join()

    # ── the files ──

    def _map(self, layout: Layout, dim: int, rows: int) -> Floats:
        path, committed = self._writer.path(layout), rows * dim * FLOAT_BYTES
        try:
            size = path.stat().st_size
            mapped = np.memmap(path, np.float32, "r", shape=(rows, dim)) if size >= committed else None
        except OSError as error:
            raise self._unreadable(layout, error) from error
        if mapped is None:
            raise DamagedSegment(
                f"the segment {path} has {size} bytes, {committed} were committed; restore it from a backup"
            )
        return np.asarray(mapped)

    def vectors(self, layout: Layout, dim: int, committed: int, positions: Ints) -> Sequence[Floats]:
        """Return copies of the vectors of some rows. No lock is needed."""
        if len(positions) <= _FEW_ROWS:  # mapping the file costs more
            return [self._vector(layout, dim, position) for position in positions.tolist()]
        return list(self._map(layout, dim, committed)[positions])

    def _vector(self, layout: Layout, dim: int, position: int) -> Floats:
        path = self._writer.path(layout)
        try:
            with path.open("rb") as file:
                file.seek(position * dim * FLOAT_BYTES)
                content = file.read(dim * FLOAT_BYTES)
        except OSError as error:
            raise self._unreadable(layout, error) from error
        if len(content) < dim * FLOAT_BYTES:
            raise DamagedSegment(f"the segment {path} ends before row {position}; restore it from a backup")
        return np.frombuffer(content, np.float32).copy()

    def _unreadable(self, layout: Layout, error: OSError) -> DamagedSegment:
        """Return the error for a file that cannot be read, or raise `Packed` if a compaction has replaced it."""
        with self._database.connection() as connection:
            layout.check(connection)
        path = self._writer.path(layout)
        return DamagedSegment(f"the segment {path} cannot be read ({error.strerror}); restore it")

    # ── visibility ──

    def _snapshot(self, connection: sqlite3.Connection, view: View, segment: Segment, metric: str) -> SegmentSnapshot:
        if view.upto is None:
            visible = segment.visible((view.seen, view.settled), self._class_table(connection, view))
            index = self.indexes.of(connection, segment, metric)
            return SegmentSnapshot(segment, segment.seqs, visible, segment.matrix, segment.norms, index)
        rows = int(np.searchsorted(segment.seqs, view.upto, side="right"))
        visible = VisibleRows.from_classes(self._past_classes(connection, view, segment, rows))
        return SegmentSnapshot(segment, segment.seqs[:rows], visible, segment.matrix[:rows], segment.norms[:rows], None)

    def _class_table(self, connection: sqlite3.Connection, view: View) -> Bytes:
        """Return the class of every state in a view: the visibility rule (DESIGN §5) as a lookup table."""
        key = (view.seen, view.settled)
        table = self._classes.get(key)
        known = 0 if table is None else len(table)
        states = self._states.known(connection)
        if table is None or known < len(states):
            added = [self._states.class_of(connection, view, state) for state in states[known:]]
            table = np.concatenate([np.empty(0, np.int8) if table is None else table, np.array(added, np.int8)])
            if len(self._classes) > _TABLES_CACHED:
                self._classes.clear()
            self._classes[key] = table
        return table

    def _past_classes(self, connection: sqlite3.Connection, view: View, segment: Segment, rows: int) -> Bytes:
        lineage_seen = np.array(
            [view.sees(self._interner.members(connection, lineage)) for lineage, _ in self._states.known(connection)],
            bool,
        )
        classes = np.where(lineage_seen[segment.states[:rows]], HEAD, HIDDEN).astype(np.int8)
        log = connection.execute(_SQL["supersedes_upto"], (segment.ident, view.upto)).fetchall()
        numbers, lineages = np.array(log, np.int64).reshape(-1, 2).T
        for row, lineage in zip(segment.layout.positions(numbers).tolist(), lineages.tolist(), strict=True):
            if 0 <= row < rows and classes[row] != HIDDEN and view.sees(self._interner.members(connection, lineage)):
                classes[row] = DEAD  # what superseded it influences nobody: no turn reads the past
        return classes
