"""Row cache: a file with the seqs, states and norms of a segment's rows, which are slow to read from SQLite.

The file may be deleted at any time. See `cache_files` for how a stale one is recognised.
"""

import sqlite3
import zlib
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from kedge.backends.sqlite.cache_files import BackgroundTask, Proof, atomic_replace, exclusive_lock
from kedge.backends.sqlite.layout import Layout
from kedge.backends.sqlite.segment import Ints, Segment, Small
from kedge.backends.sqlite.sql import queries
from kedge.ports.vectors import Floats
from kedge.support.failpoints import reach

ROWS_MIN = 20_000  # reading fewer from SQLite takes no noticeable time
_STALE_PART = 8  # a running process rewrites the file once one in so many rows was added or changed
_FORMAT = 1
_CRC_BYTES, _HEAD_BYTES = 4, 256
_ROW_BYTES = 16
_SQL = queries("vectors")
Known = Callable[[sqlite3.Connection, Iterable[int]], Container[int]]


class _Head(msgspec.Struct, frozen=True):
    format: int
    stem: str
    dim: int
    rows: int
    last_change: int
    proof: Proof


class _Saved(msgspec.Struct, frozen=True):
    """A segment's arrays at one point. Immutable: a segment that grows or changes gets other arrays."""

    head: _Head
    seqs: Ints
    states: Small
    norms: Floats


class RowCache:
    """The cache files of the segments in memory. The caller holds the lock of the vectors."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only
        self._background = BackgroundTask("kedge-rows")
        self._written: WeakKeyDictionary[Segment, int] = (
            WeakKeyDictionary()
        )  # the number of updates that its file holds

    def load(self, connection: sqlite3.Connection, segment: Segment, matrix: Floats, known: Known) -> bool:
        """Fill an empty segment from its file, if one fits; `matrix` maps all committed rows.

        A state of its rows that is gone since was collected: these rows have changed. `known` returns those of some
        states that are there.
        """
        if len(matrix) < ROWS_MIN:
            return False
        saved = _read(_path(self._folder, segment.layout))
        if saved is None or not _fits(connection, saved, segment, len(matrix)):
            return False
        states = np.unique(saved.states).tolist()
        there = known(connection, states)
        if not all(state in there for state in states):
            return False
        segment.last_change = saved.head.last_change
        segment.extend(saved.seqs, saved.states, matrix, saved.norms)
        self._written[segment] = segment.updates
        return True

    def save_in_background(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Write the file in a thread, if it is far behind."""
        if not self._read_only and self._pending(segment) >= max(ROWS_MIN, segment.rows // _STALE_PART):
            saved, path = _arrays_of(connection, segment), _path(self._folder, segment.layout)
            if self._background.start(lambda: _write(path, saved)):
                self._written[segment] = segment.updates

    def is_due(self, segment: Segment) -> bool:
        """Say whether the file should be written before this process closes."""
        return not self._read_only and self._pending(segment) >= ROWS_MIN

    def save(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Write the file if it is out of date. A failure only makes the next load slow."""
        if segment.rows < ROWS_MIN or not self._pending(segment):
            return
        self._written[segment] = segment.updates
        with suppress(OSError):
            _write(_path(self._folder, segment.layout), _arrays_of(connection, segment))

    def join(self) -> None:
        """Wait until a running write has ended."""
        self._background.join()

    def _pending(self, segment: Segment) -> int:
        return segment.updates - self._written.get(segment, 0)


def _path(folder: Path, layout: Layout) -> Path:
    return folder / f"{layout.stem}.rows"


def is_sound(folder: Path, layout: Layout) -> bool:
    """Say whether a segment's cache file is undamaged, or absent."""
    path = _path(folder, layout)
    return _read(path) is not None or not path.exists()


def _arrays_of(connection: sqlite3.Connection, segment: Segment) -> _Saved:
    proof = Proof.of(connection, max(int(segment.seqs[-1]), segment.last_change))
    head = _Head(_FORMAT, segment.layout.stem, segment.dim, segment.rows, segment.last_change, proof)
    return _Saved(head, segment.seqs, segment.states, segment.norms)


def _fits(connection: sqlite3.Connection, saved: _Saved, segment: Segment, committed: int) -> bool:
    """Say whether a file belongs to this layout, and to an earlier point of this history.

    The rows of a segment ascend by seq, and each later one's is greater: if the last seq is the same, all are.
    """
    head = saved.head
    if (head.stem, head.dim) != (segment.layout.stem, segment.dim) or not 0 < head.rows <= committed:
        return False
    last = connection.execute(_SQL["row_seq"], (segment.ident, segment.layout.number(head.rows - 1))).fetchone()
    return last is not None and last[0] == saved.seqs[-1] and head.proof.holds(connection)


# ── the file: CRC-32 of all that follows; the head, padded; seqs, states, norms ──


def _read(path: Path) -> _Saved | None:
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return None
    crc, rest = content[:_CRC_BYTES], content[_CRC_BYTES:]
    if zlib.crc32(rest) != int.from_bytes(crc, "little"):
        return None
    try:
        head = msgspec.json.decode(bytes(content[_CRC_BYTES:_HEAD_BYTES]).rstrip(b"\0"), type=_Head)
    except msgspec.MsgspecError:
        return None
    if head.format != _FORMAT or len(content) != _HEAD_BYTES + head.rows * _ROW_BYTES:
        return None
    states_at = _HEAD_BYTES + 8 * head.rows
    return _Saved(
        head,
        np.frombuffer(content, "<i8", head.rows, _HEAD_BYTES),
        np.frombuffer(content, "<i4", head.rows, states_at),
        np.frombuffer(content, "<f4", head.rows, states_at + 4 * head.rows),
    )


def _write(path: Path, saved: _Saved) -> None:
    if not path.with_suffix(".f32").exists():
        return  # the segment was packed meanwhile: nothing would read this file
    parts = [
        msgspec.json.encode(saved.head).ljust(_HEAD_BYTES - _CRC_BYTES, b"\0"),
        saved.seqs.astype("<i8").tobytes(),
        saved.states.astype("<i4").tobytes(),
        saved.norms.astype("<f4").tobytes(),
    ]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    with exclusive_lock(path.with_name(path.name + ".lock")) as is_ours:
        if not is_ours:
            return
        with atomic_replace(path) as temporary:
            with temporary.open("wb") as file:
                file.write(crc.to_bytes(_CRC_BYTES, "little"))
                file.writelines(parts)
            reach("rows:written")
        reach("rows:replaced")
