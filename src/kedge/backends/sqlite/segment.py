"""Segment in memory: the rows of one embedding space, their states, and the rows that each view sees.

The vectors are a read-only memory map. Seqs, states and norms are arrays of one value for each row.
"""

from collections import OrderedDict
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.layout import Layout
from kedge.model.states import RowClass
from kedge.model.writes import Head
from kedge.ports.vectors import Floats

Bytes = npt.NDArray[np.int8]
Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
N = TypeVar("N", np.int64, np.int32, np.float32)
Small = npt.NDArray[np.int32]

HIDDEN, HEAD, SUPERSEDED, DEAD, CONTESTED = (int(row_class) for row_class in RowClass)
RANKABLE = np.array([False, True, True, False])  # classes that a search ranks: a superseded row tells what replaced it
_STATES_COMPARED = 16  # up to so many, comparing all rows with a state is faster than a table lookup for each row
_VIEW_BYTES_MAX = 64 * 1024 * 1024  # of classes and bits that one segment caches for its views


class Classes(Protocol):
    """The classes that the rows of each state have in a view: `by_state`, CONTESTED where the state does not tell."""

    @property
    def by_state(self) -> Bytes:
        """The class of every state, by its id."""

    def sees_all(self) -> bool:
        """Return whether the view sees all lineages of the collection, and none has settled members.

        Then each contested row is superseded, and none in every view: its state would be another one. Where it returns
        False, the log of the segment is read.
        """

    def sees(self, lineage: int) -> bool:
        """Return whether the view sees a lineage."""

    def has_settled(self, lineage: int) -> bool:
        """Return whether a lineage has settled members."""

    def is_dead(self, state: int, lineage: int) -> bool:
        """Return whether rows of a state are superseded in every view, now that a visible lineage supersedes them."""


class ListedRows(Protocol):
    """Rows that an index has divided into lists."""

    def updated_counts(self, counts: Ints, changed: Ints, visible: npt.NDArray[np.bool_]) -> Ints:
        """Return the number of visible rows in each list, given the former numbers.

        `changed` are the rows whose visibility changed, `visible` says for each whether it is visible now.
        """


class VisibleRows:
    """The rows of a segment that one view sees in one transaction. Immutable.

    `classes` holds the class of each row; `bits` is the bitmap of the rows that a search must rank (8 rows a byte,
    lowest bit first, as faiss takes it). `list_counts` caches the number of these rows in each list of an index.
    """

    def __init__(self, classes: Bytes, bits: Bits, version: int) -> None:
        self.classes = classes
        self.bits = bits
        self.version = version
        self.list_counts: WeakKeyDictionary[ListedRows, Ints] = WeakKeyDictionary()
        self.heads_by_name: dict[str, Head] | None = None  # without payloads, where these are few and were asked for
        self._heads: int | None = None
        self._count: int | None = None
        self._rows: Ints | None = None

    @classmethod
    def from_classes(cls, classes: Bytes, version: int = 0) -> "VisibleRows":
        """Return the rows that a view sees, given the class of each row."""
        return cls(classes, np.packbits(RANKABLE[classes], bitorder="little"), version)

    @property
    def heads(self) -> int:
        """The number of rows that are head."""
        if self._heads is None:
            self._heads = int(np.count_nonzero(self.classes == HEAD))
        return self._heads

    @property
    def nbytes(self) -> int:
        """The memory that bits and row numbers take."""
        return self.bits.nbytes + (0 if self._rows is None else self._rows.nbytes)

    @property
    def count(self) -> int:
        """The number of rows that a search must rank."""
        if self._count is None:
            self._count = int(np.bitwise_count(self.bits).sum(dtype=np.int64))
        return self._count

    @property
    def rows(self) -> Ints:
        """The numbers of the rows that a search must rank, ascending."""
        if self._rows is None:
            self._rows = self.rows_from(0)
        return self._rows

    def rows_from(self, first: int) -> Ints:
        """Return the rows from `first` on that a search must rank."""
        start = first // 8 * 8
        bits = np.unpackbits(self.bits[start // 8 :], count=len(self.classes) - start, bitorder="little")
        bits[: first - start] = 0
        return np.flatnonzero(bits.view(bool)) + start

    def intersect(self, bits: Bits) -> "VisibleRows":
        """Return the same view, in which a search ranks only the rows of another bitmap too."""
        held = min(len(bits), len(self.bits))
        both = np.zeros(len(self.bits), np.uint8)
        both[:held] = self.bits[:held] & bits[:held]
        return VisibleRows(self.classes, both, self.version)

    def updated(self, changed: Ints, now: Bytes, added: Bytes, version: int) -> "VisibleRows":
        """Return the rows that a view sees, computed from this one: only added and `changed` rows differ.

        `now` are the classes of the changed rows, each of which is given once.
        """
        classes = np.concatenate([self.classes, added])
        classes[changed] = now
        found = VisibleRows(classes, self._bits_of(classes, changed), version)
        flipped = changed[RANKABLE[self.classes[changed]] != RANKABLE[now]]
        for lists, counts in self.list_counts.items():
            found.list_counts[lists] = lists.updated_counts(counts, flipped, RANKABLE[classes[flipped]])
        return found

    def _bits_of(self, classes: Bytes, changed: Ints) -> Bits:
        now = len(classes)
        if len(changed) > now // 64:
            return np.packbits((classes == HEAD) | (classes == SUPERSEDED), bitorder="little")
        bits = np.zeros((now + 7) // 8, np.uint8)
        bits[: len(self.bits)] = self.bits
        touched = np.unique(np.concatenate([changed >> 3, np.arange(len(self.classes) >> 3, len(bits))]))
        padded = np.zeros(len(touched) * 8, bool)
        rows = (touched[:, None] * 8 + np.arange(8)).ravel()
        within = rows < now
        padded[within] = RANKABLE[classes[rows[within]]]
        bits[touched] = np.packbits(padded, bitorder="little")
        return bits


class Segment:
    """The rows of one embedding space. `extend` and `change` replace arrays that a running search may still use."""

    def __init__(self, layout: Layout, space: str, dim: int) -> None:
        self.layout, self.ident, self.space, self.dim = layout, layout.segment, space, dim
        self.rows = 0
        self.last_change = 0
        self.updates = 0  # rows and state changes so far: tells how far a cache file is behind
        self.matrix: Floats = np.empty((0, dim), np.float32)
        self._seqs: Ints = np.empty(0, np.int64)
        self._states: Small = np.empty(0, np.int32)
        self._norms: Floats = np.empty(0, np.float32)
        self._changes: list[Ints] = []
        self._log: tuple[Ints, Ints] | None = None
        self._present: tuple[tuple[int, int], Ints] | None = None
        self._visible: OrderedDict[object, tuple[Bytes, VisibleRows]] = OrderedDict()
        self._newest: tuple[Bytes, VisibleRows] | None = None

    @property
    def seqs(self) -> Ints:
        """The seq of each row, ascending."""
        return self._seqs[: self.rows]

    @property
    def states(self) -> Small:
        """The state of each row."""
        return self._states[: self.rows]

    @property
    def norms(self) -> Floats:
        """The Euclidean length of each row's vector."""
        return self._norms[: self.rows]

    @property
    def states_present(self) -> Ints:
        """The distinct states of the rows, ascending."""
        at = (self.rows, len(self._changes))
        if self._present is None or self._present[0] != at:
            self._present = (at, np.flatnonzero(np.bincount(self.states)))
        return self._present[1]

    def extend(self, seqs: Ints, states: Small, matrix: Floats, norms: Floats | None = None) -> None:
        """Add rows that were appended to the file; `matrix` maps all rows, the new ones last.

        An interrupted call may be repeated: it sets `rows` last, and arrays hold nothing beyond `rows`.
        """
        first, rows = self.rows, self.rows + len(seqs)
        if rows > len(self._seqs):
            room = max(rows, len(self._seqs) * 5 // 4) if first else rows
            self._seqs = _grown(self._seqs, first, room)
            self._states = _grown(self._states, first, room)
            self._norms = _grown(self._norms, first, room)
        self._seqs[first:rows] = seqs
        self._states[first:rows] = states
        self._norms[first:rows] = lengths_of(matrix[first:rows]) if norms is None else norms
        self.matrix = matrix
        self.rows = rows
        self.updates += len(seqs)

    def change(self, rows: Ints, states: Small, last_change: int) -> None:
        """Set new states of rows; `last_change` is the seq of the newest write that changed one."""
        self._states = self._states.copy()  # a running search keeps the former array
        self._states[rows] = states
        self._changes.append(rows)
        self.updates += len(rows)
        self.last_change = last_change

    @property
    def has_log(self) -> bool:
        """Whether the log of what superseded contested rows is read."""
        return self._log is not None

    def log(self, rows: Ints, lineages: Ints) -> None:
        """Add the lineages that supersede contested rows; the first call gives all of them."""
        before = self._log or (rows[:0], lineages[:0])
        self._log = (np.concatenate([before[0], rows]), np.concatenate([before[1], lineages]))

    def visible(self, view: object, classes: Classes) -> VisibleRows:
        """Return the rows that a view sees.

        They are computed from the view's former rows, or else from another view's: a rollback changes few states.
        """
        version, table = len(self._changes), classes.by_state
        before, found = self._visible.pop(view, None) or self._newest or (None, None)
        if before is None or found is None:
            found = VisibleRows.from_classes(self._classes(classes, np.arange(self.rows)), version)
        elif before is not table or found.version != version or len(found.classes) != self.rows:
            changed = self._changed(found, before, table)
            added = self._classes(classes, np.arange(len(found.classes), self.rows))
            found = found.updated(changed, self._classes(classes, changed), added, version)
        self._visible[view] = self._newest = (table, found)
        while len(self._visible) > max(2, _VIEW_BYTES_MAX // max(1, self.rows)):
            self._visible.popitem(last=False)
        return found

    def _classes(self, classes: Classes, rows: Ints) -> Bytes:
        """Return the class of each of these rows in a view."""
        found = np.asarray(classes.by_state[self.states[rows]])
        contested = np.flatnonzero(found == CONTESTED)
        if len(contested):
            found[contested] = self._resolved(classes, rows[contested])
        return found

    def _resolved(self, classes: Classes, rows: Ints) -> Bytes:
        """Return the class of each of these contested rows, by what has superseded them."""
        if classes.sees_all():
            return np.full(len(rows), SUPERSEDED, np.int8)
        found = np.full(self.rows, HEAD, np.int8)
        logged, lineages = self._log or (rows[:0], rows[:0])
        ids = np.flatnonzero(np.bincount(lineages)).tolist()
        seen, settled = np.zeros((2, max(ids, default=0) + 1), bool)
        for lineage in ids:
            seen[lineage], settled[lineage] = classes.sees(lineage), classes.has_settled(lineage)
        found[logged[seen[lineages]]] = SUPERSEDED
        some = seen[lineages] & settled[lineages]  # of the others, none supersedes a contested row in every view
        pairs = set(zip(self.states[logged[some]].tolist(), lineages[some].tolist(), strict=True))
        dead = {pair for pair in pairs if classes.is_dead(*pair)}
        for row, lineage in zip(logged[some].tolist(), lineages[some].tolist(), strict=True) if dead else ():
            if (int(self.states[row]), lineage) in dead:
                found[row] = DEAD
        return found[rows]

    def contested(self, states: Ints) -> set[tuple[int, frozenset[int]]]:
        """Return (state, superseding lineages) of the rows in these contested states, each pair once."""
        above: dict[int, set[int]] = {row: set() for row in np.flatnonzero(np.isin(self.states, states)).tolist()}
        for row, lineage in zip(*(column.tolist() for column in self._log or ()), strict=True):
            if row in above:
                above[row].add(lineage)
        return {(int(self.states[row]), frozenset(lineages)) for row, lineages in above.items()}

    def _changed(self, visible: VisibleRows, before: Bytes, table: Bytes) -> Ints:
        """Return the rows of `visible` whose class may differ: their states changed, or these differ in `table`."""
        rows = len(visible.classes)
        changed = np.zeros(rows, bool)
        for some in self._changes[visible.version :]:
            changed[some[some < rows]] = True
        if before is table:
            return np.flatnonzero(changed)
        states, both = self.states[:rows], min(len(before), len(table))
        differ = np.zeros(len(table), bool)  # a state beyond both is one that a changed row has now
        differ[:both] = (before[:both] != table[:both]) | (before[:both] == CONTESTED)
        differing = np.intersect1d(np.flatnonzero(differ), self.states_present)
        if len(differing) <= _STATES_COMPARED:
            for state in differing.tolist():
                changed |= states == state
        else:
            changed |= differ[states]
        return np.flatnonzero(changed)


def _grown(array: npt.NDArray[N], used: int, room: int) -> npt.NDArray[N]:
    grown = np.empty(room, array.dtype)
    grown[:used] = array[:used]
    return grown


def lengths_of(rows: Floats) -> Floats:
    """Return the lengths of rows, squared in float64: a float32 square of 1e-25 is zero, one of 1e25 infinite."""
    lengths = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), 65_536):
        part = rows[first : first + 65_536]
        lengths[first : first + 65_536] = np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64))
    return lengths
