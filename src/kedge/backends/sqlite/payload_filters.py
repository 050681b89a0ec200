"""Payload filters: a filter of a search as a bitmap over the rows of a segment, cached between searches.

`resolve` turns the rows that a view sees, and a filter, into one set of rows before anything is ranked:

- Conditions on declared fields are always resolved, from columns in memory (`columns.py`).
- Other conditions need the payload of each row, which must be read and decoded. A filter that is used once does not pay
  for reading all of them: the search then checks the filter on the rows that ranking proposes. Once these checks have
  cost about as much as reading every payload, `scan` does that, and the filter is a bitmap from then on.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from kedge.backends.sqlite.columns import Columns, payloads
from kedge.backends.sqlite.segment import Bits, Ints, Segment, VisibleRows
from kedge.model.filters import cache_key, decided_by, matches
from kedge.model.writes import decode
from kedge.support.fork_lock import ForkSafeLock

_BYTES_MAX = 32 * 1024 * 1024  # of bitmaps that one segment keeps for its filters
_FILTERS_MAX = 256
_ROWS_PER_LOOKUP = 4  # payloads read by a scan, in the time of one lookup of a proposed row


class FilterBitmap:
    """The rows that pass one filter. The arrays are replaced, never changed in place."""

    def __init__(self) -> None:
        self.rows = 0  # all rows before this one are resolved
        self.passing: Bits = np.empty(0, np.uint8)
        self.intersections: WeakKeyDictionary[VisibleRows, VisibleRows] = WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return self.passing.nbytes + sum(rows.nbytes for rows in self.intersections.values())

    def intersect(self, rows: VisibleRows) -> VisibleRows:
        """Return the rows that pass, of rows that are all resolved."""
        found = self.intersections.get(rows)
        if found is None:
            found = self.intersections[rows] = rows.intersect(self.passing)
        return found


class ScannedFilter(FilterBitmap):
    """A filter that needs payloads; `lookups` counts the payloads that searches read for it without a scan."""

    def __init__(self) -> None:
        super().__init__()
        self.resolved: Bits = np.empty(0, np.uint8)
        self.lookups = 0

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return super().nbytes + self.resolved.nbytes

    def unresolved(self, rows: VisibleRows) -> Bits:
        """Return those of these rows whose payloads have not been read."""
        left = rows.bits.copy()
        known = self.resolved[: len(left)]
        left[: len(known)] &= ~known
        return left

    def is_scan_due(self, rows: VisibleRows, lookups: int = 0) -> bool:
        """Say whether a scan of these rows costs no more than the lookups so far, plus so many that lie ahead."""
        if rows in self.intersections:
            return True
        left = int(np.bitwise_count(self.unresolved(rows)).sum(dtype=np.int64))
        return left <= (self.lookups + lookups) * _ROWS_PER_LOOKUP

    def add(self, scanned: Bits, passing: Bits) -> None:
        """Add the result of a scan."""
        self.passing = _union(self.passing, passing)
        self.resolved = _union(self.resolved, scanned)


class PassingRows(msgspec.Struct, frozen=True):
    """The rows of a view that a filter leaves. If `unchecked` is not None, some of them may still fail the filter."""

    rows: VisibleRows
    unchecked: ScannedFilter | None


F = TypeVar("F", bound=FilterBitmap)


class SegmentFilters:
    """The columns of one segment, and the bitmaps of its filters. The least recently used bitmaps are dropped."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._columns = Columns()
        self._filters: OrderedDict[Hashable, FilterBitmap] = OrderedDict()

    def resolve(
        self,
        connection: sqlite3.Connection,
        seqs: Ints,
        rows: VisibleRows,
        fields: Sequence[str],
        where: Mapping[str, Any] | None,
    ) -> PassingRows:
        """Return the rows of a view that pass a filter (None passes all), as far as that is cheap to know.

        `seqs` are the seqs of the segment's rows, `fields` the declared ones. `connection` is in the transaction that
        saw these rows.
        """
        if where is None:
            return PassingRows(rows, None)
        declared, is_all = decided_by(where, fields)
        if declared:
            rows = self._resolve_columns(connection, seqs, rows, fields, declared)
        if is_all:
            return PassingRows(rows, None)
        with self._lock.here:
            unchecked = self._cached(where, ScannedFilter)
        passing = PassingRows(rows, unchecked)
        return self.scan(connection, seqs, passing, where) if unchecked.is_scan_due(rows) else passing

    def _resolve_columns(
        self,
        connection: sqlite3.Connection,
        seqs: Ints,
        rows: VisibleRows,
        fields: Sequence[str],
        where: Mapping[str, Any],
    ) -> VisibleRows:
        with self._lock.here:
            bitmap = self._cached(where, FilterBitmap)
            if bitmap.rows < len(seqs):
                self._columns.extend(connection, seqs, fields)
                first, end = bitmap.rows // 8 * 8, len(seqs)
                added = np.packbits(self._columns.passing(where, first, end), bitorder="little")
                bitmap.passing, bitmap.rows = np.concatenate([bitmap.passing[: first // 8], added]), end
            return bitmap.intersect(rows)

    def scan(
        self, connection: sqlite3.Connection, seqs: Ints, passing: PassingRows, where: Mapping[str, Any]
    ) -> PassingRows:
        """Return the rows that pass, after reading every payload that has not been read."""
        rows, bitmap = passing.rows, passing.unchecked
        if bitmap is None:
            return passing
        if rows not in bitmap.intersections:
            unresolved = bitmap.unresolved(rows)
            numbers = np.flatnonzero(np.unpackbits(unresolved, bitorder="little"))
            passes = np.zeros(len(unresolved) * 8, bool)
            passes[numbers] = [matches(decode(payload), where) for payload in payloads(connection, seqs[numbers])]
            with self._lock.here:
                bitmap.add(unresolved, np.packbits(passes, bitorder="little"))
        with self._lock.here:
            return PassingRows(bitmap.intersect(rows), None)

    def _cached(self, where: Mapping[str, Any], kind: type[F]) -> F:
        """Return the bitmap of a filter, a new one if there is none."""
        try:
            key = (kind, cache_key(where))
        except TypeError:
            return kind()  # its values may change, or define their own equality
        found = self._filters.pop(key, None)
        if not isinstance(found, kind):
            self._make_room()
            found = kind()
        self._filters[key] = found
        return found

    def _make_room(self) -> None:
        taken = sum(bitmap.nbytes for bitmap in self._filters.values())
        while self._filters and (taken > _BYTES_MAX or len(self._filters) >= _FILTERS_MAX):
            taken -= self._filters.popitem(last=False)[1].nbytes


class PayloadFilters:
    """The filters of this process, by segment. They are dropped together with the segment."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._by_segment: WeakKeyDictionary[Segment, SegmentFilters] = WeakKeyDictionary()

    def of(self, segment: Segment) -> SegmentFilters:
        """Return the filters of a segment."""
        with self._lock.here:
            found = self._by_segment.get(segment)
            if found is None:
                found = self._by_segment[segment] = SegmentFilters()
            return found


def _union(bits: Bits, others: Bits) -> Bits:
    """Return the union of two bitmaps, which may have different lengths."""
    longer, shorter = (bits, others) if len(bits) > len(others) else (others, bits)
    union = longer.copy()
    union[: len(shorter)] |= shorter
    return union
