"""One embedding space as this process knows it: rows mapped, states in memory, and what each view sees of them."""

from collections import OrderedDict
from typing import TypeVar

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
_VIEW_BYTES_MAX = 64 * 1024 * 1024  # of classes and bits that one segment keeps for its views


class Shown:
    """What one view sees of a segment's rows at one instant: classes, the same as bits, and counts. Never changed."""

    def __init__(self, classes: Bytes, bits: Bits, version: int) -> None:
        self.classes = classes
        self.bits = bits
        self.version = version
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
    def ranked(self) -> int:
        """How many rows a search must rank."""
        if self._ranked is None:
            self._ranked = int(np.bitwise_count(self.bits).sum(dtype=np.int64))
        return self._ranked

    @property
    def rows(self) -> Ints:
        """The rows that a search must rank, in order."""
        if self._rows is None:
            self._rows = np.flatnonzero(RANKS[self.classes])
        return self._rows

    def rows_from(self, first: int) -> Ints:
        """Return the rows from `first` on that a search must rank."""
        return np.flatnonzero(RANKS[self.classes[first:]]) + first

    def brought_up(self, states: Small, table: Bytes, changed: Ints, version: int) -> "Shown":
        """Return what the view sees now that rows were added and the states of some have changed."""
        before, now = len(self.classes), len(states)
        classes = np.empty(now, np.int8)
        classes[:before] = self.classes
        classes[before:] = table[states[before:]]
        classes[changed] = table[states[changed]]
        bits = np.zeros((now + 7) // 8, np.uint8)
        bits[: len(self.bits)] = self.bits
        touched = np.unique(np.concatenate([changed >> 3, np.arange(before >> 3, len(bits))]))
        padded = np.zeros(len(touched) * 8, bool)
        rows = (touched[:, None] * 8 + np.arange(8)).ravel()
        within = rows < now
        padded[within] = RANKS[classes[rows[within]]]
        bits[touched] = np.packbits(padded, bitorder="little")
        return Shown(classes, bits, version)


class Segment:
    """The rows of one embedding space. Appending and changing leave alone what a search has taken."""

    def __init__(self, layout: Layout, space: str, dim: int) -> None:
        self.layout, self.ident, self.space, self.dim = layout, layout.segment, space, dim
        self.rows = 0
        self.last_change = 0
        self.matrix: Floats = np.empty((0, dim), np.float32)
        self._seqs: Ints = np.empty(0, np.int64)
        self._states: Small = np.empty(0, np.int32)
        self._norms: Floats = np.empty(0, np.float32)
        self._changes: list[Ints] = []
        self._present: tuple[tuple[int, int], Ints] | None = None
        self._shown: OrderedDict[object, Shown] = OrderedDict()

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

    def change(self, rows: Ints, states: Small, last_change: int) -> None:
        """Take in new states of rows."""
        self._states = self._states.copy()  # a search that runs now keeps the array that it took
        self._states[rows] = states
        self._changes.append(rows)
        self.last_change = last_change

    def shown(self, view: object, table: Bytes) -> Shown:
        """Return what a view sees, from what it saw before; `table` gives the class of every state."""
        version = len(self._changes)
        found = self._shown.pop(view, None)
        if found is None:
            found = Shown.of(table[self.states], version)
        elif found.version != version or len(found.classes) != self.rows:
            changed = [rows[rows < len(found.classes)] for rows in self._changes[found.version :]]
            rows = np.unique(np.concatenate([np.empty(0, np.int64), *changed]))
            found = found.brought_up(self.states, table, rows, version)
        self._shown[view] = found
        while len(self._shown) > max(2, _VIEW_BYTES_MAX // max(1, self.rows)):
            self._shown.popitem(last=False)
        return found


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
