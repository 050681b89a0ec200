"""Segment snapshots: the segments of this process as one read transaction and one view see them.

Rows are added and states changed by any process. A search first brings its segments up to date from SQLite, in the read
transaction in which it will search. Then it takes a snapshot: arrays that later changes do not touch.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.indexes import Indexes
from kedge.backends.sqlite.ivf import IvfIndex
from kedge.backends.sqlite.layout import GONE, Layout
from kedge.backends.sqlite.reads import Reader
from kedge.backends.sqlite.row_cache import RowCache
from kedge.backends.sqlite.segment import DEAD, HEAD, HIDDEN, Bytes, Ints, Segment, VisibleRows
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES, SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upkeep import Upkeep
from kedge.errors import DamagedSegment
from kedge.model.compaction import check_readable
from kedge.model.lineage import Lineage
from kedge.model.states import State, deciding, hides_always
from kedge.model.visibility import View
from kedge.ports.vectors import Collection, Floats

_SQL = queries("vectors")
_COMPACTION = queries("compaction")
_FEW_ROWS = 4


class SegmentSnapshot(msgspec.Struct, frozen=True):
    """The arrays of a segment in one read transaction, and the rows that a view sees. `index` is None for the past."""

    segment: Segment
    seqs: Ints
    visible: VisibleRows
    matrix: Floats
    norms: Floats
    index: IvfIndex | None


class _ViewClasses:
    """The classes of states and of contested rows in a view, as `Classes` has them."""

    def __init__(
        self,
        by_state: Bytes,
        view: View,
        known: Mapping[int, State],
        members: Callable[[int], Lineage],
        sees_all: Callable[[], bool],
    ) -> None:
        self.by_state = by_state
        self.sees_all = sees_all
        self._view = view
        self._known = known
        self._members = members

    def sees(self, lineage: int) -> bool:
        """Return whether the view sees a lineage."""
        return self._view.sees(self._members(lineage))

    def has_settled(self, lineage: int) -> bool:
        """Return whether a lineage has settled members."""
        return not self._members(lineage).isdisjoint(self._view.settled)

    def is_dead(self, state: int, lineage: int) -> bool:
        """Return whether a visible lineage supersedes the rows of a state in every view that sees them."""
        return hides_always(self._members(lineage), self._members(self._known[state][0]), self._view.settled)


class SegmentSnapshots:
    """The segments of this process. The caller holds a lock, except in `vectors`.

    Methods raise `Packed` if a compaction has replaced a file: the caller repeats its search in a new transaction.
    """

    def __init__(
        self, database: Database, states: States, reader: Reader, writer: SegmentWriter, upkeep: Upkeep
    ) -> None:
        self._database = database
        self._reader = reader
        self._members = reader.members
        self._states = states
        self._writer = writer
        self._upkeep = upkeep
        self._layouts = upkeep.compactor.layouts
        self._segments: dict[int, Segment] = {}
        self.indexes = Indexes(database, writer)
        self._row_cache = RowCache(writer.folder, read_only=database.read_only)

    # ── catching up with the journal ──

    def take(self, connection: sqlite3.Connection, view: View, collection: Collection) -> list[SegmentSnapshot]:
        """Catch up inside a fresh read transaction, and return a snapshot of each segment of a collection."""
        if view.upto is not None and connection.execute(_COMPACTION["is_snapshot"], (view.upto,)).fetchone() is None:
            check_readable(view.upto, connection.execute(_COMPACTION["reclaimed"], (collection.name,)).fetchone()[0])
        segments = self.segments(connection, collection)
        return [self._snapshot(connection, view, segment, collection) for segment in segments]

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
        layout, is_first = segment.layout, segment.rows == 0
        if committed > segment.rows:
            matrix = self._map(layout, segment.dim, committed)
            if is_first and not self._row_cache.load(connection, segment, matrix, self._states.known):
                segment.last_change = connection.execute(_SQL["last_change"], (segment.ident,)).fetchone()[0]
            first = layout.number(segment.rows)
            added = connection.execute(_SQL["rows_from"], (segment.ident, first))
            fresh = np.fromiter((number for row in added for number in row), np.int64).reshape(-1, 3)
            if first < layout.below:
                fresh = fresh[layout.positions(fresh[:, 0]) != GONE]
            segment.extend(fresh[:, 1], fresh[:, 2].astype(np.int32), matrix)
        changed = connection.execute(_SQL["changed_after"], (segment.ident, segment.last_change)).fetchall()
        if changed:
            self._change(connection, segment, np.array(changed, np.int64))
        self._row_cache.save_in_background(connection, segment)

    def _load_log(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Read what superseded the contested rows up to the last change of a segment, unless it is read."""
        present = segment.states_present.tolist()
        known = self._states.known(connection, present)
        contested = [state for state in present if known[state][1] is None]
        if contested and not segment.has_log:
            found = connection.execute(_SQL["superseded_upto"], (segment.ident, segment.last_change)).fetchone()
            numbers, lineages = (np.array(msgspec.json.decode(column, type=list[int]), np.int64) for column in found)
            rows = segment.layout.positions(numbers)
            rows, lineages = rows[rows != GONE], lineages[rows != GONE]
            is_contested = np.isin(segment.states[rows], contested)
            segment.log(rows[is_contested], lineages[is_contested])

    def _change(self, connection: sqlite3.Connection, segment: Segment, changed: Ints) -> None:
        """Apply log entries (row number, state now, seq, superseding lineage) to a segment."""
        last_change = int(changed[:, 2].max())
        rows = segment.layout.positions(changed[:, 0])
        states, lineages = changed[rows != GONE][:, [1, 3]].T
        rows = rows[rows != GONE]
        if segment.has_log:
            known = self._states.known(connection, [*states.tolist(), *segment.states[rows].tolist()])
            is_contested = np.array([known[state][1] is None for state in states.tolist()], bool)
            segment.log(rows[is_contested], lineages[is_contested])
            for row in np.unique(rows[is_contested]).tolist():  # what superseded it before is not in these entries
                above = known[int(segment.states[row])][1] or ()
                segment.log(np.full(len(above), row, np.int64), np.array(above, np.int64))
        segment.change(rows, states.astype(np.int32), last_change)

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

    def _snapshot(
        self, connection: sqlite3.Connection, view: View, segment: Segment, collection: Collection
    ) -> SegmentSnapshot:
        if view.upto is None:
            classes = self._classes_in(connection, view, segment, collection)
            visible = segment.visible((view.seen, view.settled), classes)
            index = self.indexes.of(connection, segment, collection.metric)
            return SegmentSnapshot(segment, segment.seqs, visible, segment.matrix, segment.norms, index)
        rows = int(np.searchsorted(segment.seqs, view.upto, side="right"))
        visible = VisibleRows.from_classes(self._past_classes(connection, view, segment, rows))
        return SegmentSnapshot(segment, segment.seqs[:rows], visible, segment.matrix[:rows], segment.norms[:rows], None)

    def _classes_in(
        self, connection: sqlite3.Connection, view: View, segment: Segment, collection: Collection
    ) -> "_ViewClasses":
        """Return the class of every state in a view: the visibility rule (DESIGN §5) as a lookup table."""
        by_state = self._states.classes(connection, view, segment.states_present)

        def sees_all() -> bool:
            found = self._reader.sees_all(connection, view, "vectors", collection.name)
            if not found:
                self._load_log(connection, segment)
            return found

        known, members = self._states.known(connection, ()), partial(self._members, connection)
        return _ViewClasses(by_state, view, known, members, sees_all)

    def deciding(
        self, connection: sqlite3.Connection, view: View, snapshots: Iterable[SegmentSnapshot]
    ) -> frozenset[Lineage]:
        """Return the lineages that decide which rows of these segments are head in a present view."""
        members, found = self._members, set[Lineage]()
        for segment in (snapshot.segment for snapshot in snapshots):
            known = self._states.known(connection, present := segment.states_present.tolist())
            contested = [state for state in present if known[state][1] is None]
            pairs = [(own, above) for own, above in (known[state] for state in present) if above is not None]
            if contested:
                self._load_log(connection, segment)
                pairs += [(known[state][0], tuple(above)) for state, above in segment.contested(np.array(contested))]
            for own, above in pairs:
                found |= deciding(view, members(connection, own), [members(connection, other) for other in above])
        return frozenset(found)

    def _past_classes(self, connection: sqlite3.Connection, view: View, segment: Segment, rows: int) -> Bytes:
        present, state_of = np.unique(segment.states[:rows], return_inverse=True)
        known = self._states.known(connection, present.tolist())
        seen = np.array([view.sees(self._members(connection, known[state][0])) for state in present.tolist()], bool)
        classes = np.where(seen[state_of], HEAD, HIDDEN).astype(np.int8)
        log = connection.execute(_SQL["supersedes_upto"], (segment.ident, view.upto)).fetchall()
        numbers, lineages = np.array(log, np.int64).reshape(-1, 2).T
        for row, lineage in zip(segment.layout.positions(numbers).tolist(), lineages.tolist(), strict=True):
            if 0 <= row < rows and classes[row] != HIDDEN and view.sees(self._members(connection, lineage)):
                classes[row] = DEAD  # what superseded it influences nobody: no turn reads the past
        return classes
