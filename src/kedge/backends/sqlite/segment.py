"""One embedding space as this process knows it: rows mapped, states in memory, and what each view sees of them."""

from collections import OrderedDict
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from kedge.backends.sqlite.layout import Layout
from kedge.ports.vectors import Floats

Bytes = npt.NDArray[np.int8]
Bits = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
N = TypeVar("N", np.int64, np.int32, np.float32)
Small = npt.NDArray[np.int32]

# What a row is in a view: not seen; head; seen, but a write that could be rolled back took its place; seen, but gone.
HIDDEN, HEAD, SUPERSEDED, DEAD = 0, 1, 2, 3
RANKS = np.array([False, True, True, False])  # the classes that a search must rank
_STATES_COMPARED = 16  # rather than looked up: a comparison of all rows costs a twentieth
_VIEW_BYTES_MAX = 64 * 1024 * 1024  # of classes and bits that one segment keeps for its views


class Lists(Protocol):
    """Rows that an index has divided into lists."""

    def recounted(self, counts: Ints, flipped: Ints, shown: npt.NDArray[np.bool_]) -> Ints:
        """Return how many rows are shown in each list, given how many were, and which rows have come or gone."""


class Shown:
    """What one view sees of a segment's rows at one instant: classes, the same as bits, and counts. Never changed.

    `counts` remembers how many rows are shown in each list of an index.
    """

    def __init__(self, classes: Bytes, bits: Bits, version: int) -> None:
        self.classes = classes
        self.bits = bits
        self.version = version
        self.counts: WeakKeyDictionary[Lists, Ints] = WeakKeyDictionary()
        self._heads: int | None = None
        self._ranked: int | None = None
        self._rows: Ints | None = None

    @classmethod
    def of(cls, classes: Bytes, version: int = 0) -> "Shown":
        """Return what a view sees, given the class of each row."""
        return cls(classes, np.packbits(RANKS[classes], bitorder="little"), version)

    @property
    def heads(self) -> int:
        """How many rows are head."""
        if self._heads is None:
            self._heads = int(np.count_nonzero(self.classes == HEAD))
        return self._heads

    @property
    def nbytes(self) -> int:
        """What its bits and rows take in memory."""
        return self.bits.nbytes + (0 if self._rows is None else self._rows.nbytes)

    @property
    def ranked(self) -> int:
        """How many rows a search must rank."""
        if self._ranked is None:
            self._ranked = int(np.bitwise_count(self.bits).sum(dtype=np.int64))
        return self._ranked

    @property
    def rows(self) -> Ints:
        """The rows that a search must rank, in order."""
        if self._rows is None:
            self._rows = self.rows_from(0)
        return self._rows

    def rows_from(self, first: int) -> Ints:
        """Return the rows from `first` on that a search must rank."""
        start = first // 8 * 8
        bits = np.unpackbits(self.bits[start // 8 :], count=len(self.classes) - start, bitorder="little")
        bits[: first - start] = 0
        return np.flatnonzero(bits.view(bool)) + start

    def narrowed(self, bits: Bits) -> "Shown":
        """Return the same view with less for a search to rank: only rows whose bit is set here, too."""
        held = min(len(bits), len(self.bits))
        both = np.zeros(len(self.bits), np.uint8)
        both[:held] = self.bits[:held] & bits[:held]
        return Shown(self.classes, both, self.version)

    def brought_up(self, states: Small, table: Bytes, changed: Ints, version: int) -> "Shown":
        """Return what a view sees, given that it sees what this one does save of added rows and of those `changed`.

        `changed` are rows of this one, each once.
        """
        before, now = len(self.classes), len(states)
        classes = np.empty(now, np.int8)
        classes[:before] = self.classes
        classes[before:] = table[states[before:]]
        classes[changed] = table[states[changed]]
        shown = Shown(classes, self._bits_of(classes, changed), version)
        flipped = changed[RANKS[self.classes[changed]] != RANKS[classes[changed]]]
        for lists, counts in self.counts.items():
            shown.counts[lists] = lists.recounted(counts, flipped, RANKS[classes[flipped]])
        return shown

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
        padded[within] = RANKS[classes[rows[within]]]
        bits[touched] = np.packbits(padded, bitorder="little")
        return bits


class Segment:
    """The rows of one embedding space. Appending and changing leave alone what a search has taken."""

    def __init__(self, layout: Layout, space: str, dim: int) -> None:
        self.layout, self.ident, self.space, self.dim = layout, layout.segment, space, dim
        self.rows = 0
        self.last_change = 0
        self.taken_in = 0  # rows and changes, for telling how far a file of them has fallen behind
        self.matrix: Floats = np.empty((0, dim), np.float32)
        self._seqs: Ints = np.empty(0, np.int64)
        self._states: Small = np.empty(0, np.int32)
        self._norms: Floats = np.empty(0, np.float32)
        self._changes: list[Ints] = []
        self._present: tuple[tuple[int, int], Ints] | None = None
        self._shown: OrderedDict[object, tuple[Bytes, Shown]] = OrderedDict()
        self._newest: tuple[Bytes, Shown] | None = None

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
        """The length of each row's vector."""
        return self._norms[: self.rows]

    @property
    def states_present(self) -> Ints:
        """The states that some row is in, ascending."""
        at = (self.rows, len(self._changes))
        if self._present is None or self._present[0] != at:
            self._present = (at, np.flatnonzero(np.bincount(self.states)))
        return self._present[1]

    def extend(self, seqs: Ints, states: Small, matrix: Floats, norms: Floats | None = None) -> None:
        """Take in rows that were appended; `matrix` maps all rows, the added ones last.

        Interrupted anywhere, it is done again as if it had never begun: `rows` says how far the arrays hold.
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
        self.taken_in += len(seqs)

    def change(self, rows: Ints, states: Small, last_change: int) -> None:
        """Take in new states of rows."""
        self._states = self._states.copy()  # a search that runs now keeps the array that it took
        self._states[rows] = states
        self._changes.append(rows)
        self.taken_in += len(rows)
        self.last_change = last_change

    def shown(self, view: object, table: Bytes) -> Shown:
        """Return what a view sees; `table` gives the class of every state.

        It is worked out from what it saw before, or else from what another view sees: a rollback changes few states.
        """
        version = len(self._changes)
        before, found = self._shown.pop(view, None) or self._newest or (None, None)
        if before is None or found is None:
            found = Shown.of(table[self.states], version)
        elif before is not table or found.version != version or len(found.classes) != self.rows:
            found = found.brought_up(self.states, table, self._changed(found, before, table), version)
        self._shown[view] = self._newest = (table, found)
        while len(self._shown) > max(2, _VIEW_BYTES_MAX // max(1, self.rows)):
            self._shown.popitem(last=False)
        return found

    def _changed(self, shown: Shown, before: Bytes, table: Bytes) -> Ints:
        """Return the rows of `shown` whose states changed since, or whose states are of another class than before."""
        rows = len(shown.classes)
        changed = np.zeros(rows, bool)
        for some in self._changes[shown.version :]:
            changed[some[some < rows]] = True
        states = self.states[:rows]
        differ = before != table[: len(before)]
        differing = np.flatnonzero(differ)
        if len(differing) <= _STATES_COMPARED:
            for state in differing.tolist():
                changed |= states == state
        else:
            changed |= np.append(differ, np.zeros(len(table) - len(before), bool))[states]
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
