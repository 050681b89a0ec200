"""Segment layout: maps row numbers to positions in the segment file.

Numbers ascend with seqs and never change. A compaction ("packing") drops rows and so changes positions.
"""

import sqlite3
import zlib

import msgspec
import numpy as np

from kedge.backends.sqlite.sql import queries
from kedge.model.compaction import Ints

_SQL = queries("compaction")
GONE = -1


class Packed(Exception):
    """A compaction has replaced a segment file that was about to be read: repeat in a new transaction."""


class Layout(msgspec.Struct, frozen=True):
    """The layout after a segment's last packing: of the rows below `below`, only those in `kept` remain, in order.

    All later rows follow. In a segment that was never packed, positions equal numbers. `gone` counts dropped rows.
    """

    segment: int
    packing: int = 0
    gone: int = 0
    below: int = 0
    kept: Ints = np.empty(0, np.int64)

    @property
    def stem(self) -> str:
        """The beginning of the names of its files, unique to this layout."""
        return str(self.segment) if self.packing == 0 else f"{self.segment}-{self.packing}"

    def positions(self, numbers: Ints) -> Ints:
        """Return the positions of rows in the file; `GONE` for dropped rows."""
        found = numbers - self.gone
        early = numbers < self.below
        if early.any():
            asked = numbers[early]
            at = np.searchsorted(self.kept, asked)
            is_kept = at < len(self.kept)
            is_kept[is_kept] = self.kept[at[is_kept]] == asked[is_kept]
            found[early] = np.where(is_kept, at, GONE)
        return found

    def position(self, number: int) -> int:
        """Return the position of one row in the file, or `GONE`."""
        return int(self.positions(np.array([number], np.int64))[0])

    def numbers(self, positions: Ints) -> Ints:
        """Return the numbers of the rows at these positions."""
        found = positions + self.gone
        early = positions < len(self.kept)
        found[early] = self.kept[positions[early]]
        return found

    def number(self, position: int) -> int:
        """Return the number of the row at a position, which may be the next one to append."""
        return int(self.numbers(np.array([position], np.int64))[0])

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise `Packed` if this is no longer the segment's layout."""
        if connection.execute(_SQL["packing_of"], (self.segment,)).fetchone() != (self.packing,):
            raise Packed


class Layouts:
    """Cache of the layouts of this process's segments."""

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}

    def of(self, connection: sqlite3.Connection, segment: int, packing: int, gone: int) -> Layout:
        """Return a segment's layout as a transaction sees it."""
        known = self._known.get(segment)
        if known is None or known.packing != packing:
            known = self._known[segment] = read(connection, segment, packing, gone)
        return known


def read(connection: sqlite3.Connection, segment: int, packing: int, gone: int) -> Layout:
    """Read the layout of a segment."""
    if packing == 0:
        return Layout(segment)
    below, kept = connection.execute(_SQL["packing"], (segment,)).fetchone()
    return Layout(segment, packing, gone, below, np.cumsum(np.frombuffer(zlib.decompress(kept), np.int64)))


def deflated(kept: Ints) -> bytes:
    """Return ascending numbers in their stored form: deltas, deflated."""
    return zlib.compress(np.diff(kept, prepend=0).astype(np.int64).tobytes(), 1)
