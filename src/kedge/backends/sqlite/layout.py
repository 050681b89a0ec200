"""Where a segment's rows lie. Their numbers ascend with their seqs and never change; their positions do, by packing."""

import sqlite3
import zlib

import msgspec
import numpy as np

from kedge.backends.sqlite.sql import queries
from kedge.model.compaction import Ints

_SQL = queries("compaction")
GONE = -1


class Packed(Exception):
    """Compaction has put another file in place of one that was about to be used: look again."""


class Layout(msgspec.Struct, frozen=True):
    """A segment as it was packed last: of its rows below `below`, those that are `kept` lie first, in order.

    The others follow one by one. One that was never packed has each row at the position of its number.
    """

    segment: int
    packing: int = 0
    gone: int = 0
    below: int = 0
    kept: Ints = np.empty(0, np.int64)

    @property
    def stem(self) -> str:
        """What the names of its files begin with: no other layout's do."""
        return str(self.segment) if self.packing == 0 else f"{self.segment}-{self.packing}"

    def positions(self, numbers: Ints) -> Ints:
        """Return where rows lie in the file; `GONE` for those that are not in it."""
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
        """Return where one row lies in the file, or `GONE`."""
        return int(self.positions(np.array([number], np.int64))[0])

    def numbers(self, positions: Ints) -> Ints:
        """Return the numbers of the rows at these positions."""
        found = positions + self.gone
        early = positions < len(self.kept)
        found[early] = self.kept[positions[early]]
        return found

    def number(self, position: int) -> int:
        """Return the number of the row at a position, be it the next that is appended."""
        return int(self.numbers(np.array([position], np.int64))[0])

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise `Packed` where a fresh look says that this is the layout no more."""
        if connection.execute(_SQL["packing_of"], (self.segment,)).fetchone() != (self.packing,):
            raise Packed


class Layouts:
    """The layouts of this process's segments, kept while they hold."""

    def __init__(self) -> None:
        self._known: dict[int, Layout] = {}

    def of(self, connection: sqlite3.Connection, segment: int, packing: int, gone: int) -> Layout:
        """Return the layout that a transaction sees a segment in."""
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
    """Return ascending numbers as they are stored."""
    return zlib.compress(np.diff(kept, prepend=0).astype(np.int64).tobytes(), 1)
