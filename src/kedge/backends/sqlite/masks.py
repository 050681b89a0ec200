"""Payload filters as bits over a segment's rows, kept for the next search and combined with what a view shows.

What declared fields decide is known for all rows before anything is ranked. The rest is checked on what is proposed,
until that has cost about as much as reading every payload once: then that is done, and from then on the filter is
bits like any other. A filter that is used once costs little, one that is used often soon costs nothing.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from kedge.backends.sqlite.columns import Columns, payloads
from kedge.backends.sqlite.ranking import Frame
from kedge.backends.sqlite.segment import Bits, Segment, Shown
from kedge.model.filters import cache_key, decided_by, matches
from kedge.model.writes import decode
from kedge.support.fork_lock import ForkSafeLock

_BYTES_MAX = 32 * 1024 * 1024  # of bits that one segment keeps for its filters
_MASKS_MAX = 256
_ROWS_A_LOOKUP = 4  # payloads read in a scan, in the time of one that is looked up for a proposed row


class _Mask:
    """The rows that pass one filter, as far as they are decided. Bits are replaced, never changed."""

    def __init__(self) -> None:
        self.rows = 0  # all before are decided
        self.passing: Bits = np.empty(0, np.uint8)
        self.narrowed: WeakKeyDictionary[Shown, Shown] = WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.passing.nbytes + sum(shown.nbytes for shown in self.narrowed.values())

    def narrow(self, shown: Shown) -> Shown:
        """Return what a view shows of the rows that pass; all that it shows are decided."""
        found = self.narrowed.get(shown)
        if found is None:
            found = self.narrowed[shown] = shown.narrowed(self.passing)
        return found


class _Scanned(_Mask):
    """The same for a filter that is decided payload by payload; `spent` counts those looked up without deciding."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: Bits = np.empty(0, np.uint8)
        self.spent = 0

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return super().nbytes + self.decided.nbytes

    def undecided(self, shown: Shown) -> Bits:
        """Return the rows that a view shows and that are not decided."""
        left = shown.bits.copy()
        known = self.decided[: len(left)]
        left[: len(known)] &= ~known
        return left

    def left(self, shown: Shown) -> int:
        """Return how many these are."""
        if shown in self.narrowed:
            return 0
        return int(np.bitwise_count(self.undecided(shown)).sum(dtype=np.int64))

    def learn(self, asked: Bits, passing: Bits) -> None:
        """Take in which of the rows asked about pass."""
        self.passing = _either(self.passing, passing)
        self.decided = _either(self.decided, asked)


M = TypeVar("M", bound=_Mask)


class SegmentMasks:
    """The columns of one segment, and the filters decided over it, the least used of which are dropped."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._columns = Columns()
        self._masks: OrderedDict[Hashable, _Mask] = OrderedDict()

    def by_columns(
        self, connection: sqlite3.Connection, frame: Frame, fields: Sequence[str], where: Mapping[str, Any]
    ) -> Shown:
        """Return what a frame shows of the rows that pass a filter, which names only declared fields."""
        with self._lock:
            mask = self._kept(where, _Mask)
            if mask.rows < len(frame.seqs):
                self._columns.bring_up(connection, frame.seqs, fields)
                first, rows = mask.rows // 8 * 8, len(frame.seqs)
                added = np.packbits(self._columns.passing(where, first, rows), bitorder="little")
                mask.passing, mask.rows = np.concatenate([mask.passing[: first // 8], added]), rows
            return mask.narrow(frame.shown)

    def scanned(self, where: Mapping[str, Any]) -> _Scanned:
        """Return what is known of a filter that names other fields, too."""
        with self._lock:
            return self._kept(where, _Scanned)

    def decide(self, connection: sqlite3.Connection, frame: Frame, where: Mapping[str, Any], mask: _Scanned) -> Shown:
        """Return what a frame shows of the rows that pass a filter; read the payloads of those not decided yet."""
        if mask.left(frame.shown):
            undecided = mask.undecided(frame.shown)
            rows = np.flatnonzero(np.unpackbits(undecided, bitorder="little"))
            passing = np.zeros(len(undecided) * 8, bool)
            passing[rows] = [matches(decode(payload), where) for payload in payloads(connection, frame.seqs[rows])]
            with self._lock:
                mask.learn(undecided, np.packbits(passing, bitorder="little"))
        with self._lock:
            return mask.narrow(frame.shown)

    def _kept(self, where: Mapping[str, Any], kind: type[M]) -> M:
        """Return the mask of a filter, a new one where there is none."""
        try:
            key = (kind, cache_key(where))
        except TypeError:
            return kind()  # its values may change, or compare as they like
        found = self._masks.pop(key, None)
        if not isinstance(found, kind):
            self._make_room()
            found = kind()
        self._masks[key] = found
        return found

    def _make_room(self) -> None:
        taken = sum(mask.nbytes for mask in self._masks.values())
        while self._masks and (taken > _BYTES_MAX or len(self._masks) >= _MASKS_MAX):
            taken -= self._masks.popitem(last=False)[1].nbytes


class Narrowing:
    """The filter of one search over one frame: `frame` shows no row that is known not to pass."""

    def __init__(
        self,
        masks: SegmentMasks,
        connection: sqlite3.Connection,
        frame: Frame,
        fields: Sequence[str],
        where: Mapping[str, Any],
    ) -> None:
        self._masks, self._connection, self._where = masks, connection, where
        decided, is_all = decided_by(where, fields)
        self.frame = frame
        if decided:
            self.frame = _showing(frame, masks.by_columns(connection, frame, fields, decided))
        self._scanned = None if is_all else masks.scanned(where)
        self.decide(0)

    @property
    def is_decided(self) -> bool:
        """Whether all that `frame` shows is known to pass."""
        return self._scanned is None

    def spend(self, lookups: int) -> None:
        """Count payloads that were looked up to check them."""
        if self._scanned is not None:
            self._scanned.spent += lookups

    def decide(self, lookups: int) -> bool:
        """Decide all that `frame` shows where this costs no more than what was spent, and so many more lookups.

        Say whether `frame` is new.
        """
        mask = self._scanned
        if mask is None:
            return False
        if mask.left(self.frame.shown) > (mask.spent + lookups) * _ROWS_A_LOOKUP:
            return False
        shown = self._masks.decide(self._connection, self.frame, self._where, mask)
        self.frame, self._scanned = _showing(self.frame, shown), None
        return True


class Masks:
    """The filters of this process, by segment; a segment that is gone takes its own with it."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._by_segment: WeakKeyDictionary[Segment, SegmentMasks] = WeakKeyDictionary()

    def narrowing(
        self, connection: sqlite3.Connection, frame: Frame, fields: Sequence[str], where: Mapping[str, Any] | None
    ) -> Narrowing:
        """Return a filter (None lets everything pass) at work on a frame, whose transaction `connection` is in."""
        with self._lock:
            masks = self._by_segment.get(frame.segment)
            if masks is None:
                masks = self._by_segment[frame.segment] = SegmentMasks()
        return Narrowing(masks, connection, frame, fields, {} if where is None else where)


def _showing(frame: Frame, shown: Shown) -> Frame:
    return msgspec.structs.replace(frame, shown=shown)


def _either(bits: Bits, others: Bits) -> Bits:
    """Return the union of bits over rows, of which one may hold more than the other."""
    longer, shorter = (bits, others) if len(bits) > len(others) else (others, bits)
    union = longer.copy()
    union[: len(shorter)] |= shorter
    return union
