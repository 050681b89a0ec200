"""What a process knows of a segment's rows, kept in a file beside it, so that the next one reads none from SQLite."""

import sqlite3
import zlib
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from kedge.backends.sqlite.caches import Behind, Proof, alone, replacing
from kedge.backends.sqlite.layout import Layout
from kedge.backends.sqlite.segment import Ints, Segment, Small
from kedge.backends.sqlite.sql import queries
from kedge.ports.vectors import Floats
from kedge.support.failpoints import reach

ROWS_MIN = 20_000  # fewer are read from SQLite in no time
_BEHIND = 8  # a running process writes the file anew once this part of the rows has come or changed since
_FORMAT = 1
_CRC_BYTES, _HEAD_BYTES = 4, 256
_ROW_BYTES = 16
_SQL = queries("vectors")


class _Head(msgspec.Struct, frozen=True):
    format: int
    stem: str
    dim: int
    rows: int
    last_change: int
    proof: Proof


class _Kept(msgspec.Struct, frozen=True):
    """A segment's arrays at one instant. They are never changed: a segment that grows or changes has others."""

    head: _Head
    seqs: Ints
    states: Small
    norms: Floats


class RowCache:
    """The files of the segments that this process has in memory. The caller holds the lock of the vectors."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only
        self._behind = Behind("kedge-rows")
        self._written: WeakKeyDictionary[Segment, int] = WeakKeyDictionary()  # what its file reflects, or was to

    def recall(self, connection: sqlite3.Connection, segment: Segment, matrix: Floats) -> bool:
        """Fill an empty segment from its file, if there is one of this history; `matrix` maps all committed rows."""
        if len(matrix) < ROWS_MIN:
            return False
        kept = _read(_path(self._folder, segment.layout))
        if kept is None or not _is_of(connection, kept, segment, len(matrix)):
            return False
        segment.last_change = kept.head.last_change
        segment.extend(kept.seqs, kept.states, matrix, kept.norms)
        self._written[segment] = segment.taken_in
        return True

    def follow(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Have the file written, behind the caller's back, where it has fallen far behind."""
        if not self._read_only and self._pending(segment) >= max(ROWS_MIN, segment.rows // _BEHIND):
            kept, path = _taken(connection, segment), _path(self._folder, segment.layout)
            if self._behind.start(lambda: _write(path, kept)):
                self._written[segment] = segment.taken_in

    def is_due(self, segment: Segment) -> bool:
        """Say whether it is worth writing the file before this process forgets what it knows."""
        return not self._read_only and self._pending(segment) >= ROWS_MIN

    def keep(self, connection: sqlite3.Connection, segment: Segment) -> None:
        """Write the file if it is not what is known; where that fails, somebody will load the slow way."""
        if segment.rows < ROWS_MIN or not self._pending(segment):
            return
        self._written[segment] = segment.taken_in
        with suppress(OSError):
            _write(_path(self._folder, segment.layout), _taken(connection, segment))

    def join(self) -> None:
        """Wait for a file that is being written."""
        self._behind.join()

    def _pending(self, segment: Segment) -> int:
        return segment.taken_in - self._written.get(segment, 0)


def _path(folder: Path, layout: Layout) -> Path:
    return folder / f"{layout.stem}.rows"


def is_sound(folder: Path, layout: Layout) -> bool:
    """Say whether a segment's file is what was written, if it is there."""
    path = _path(folder, layout)
    return _read(path) is not None or not path.exists()


def _taken(connection: sqlite3.Connection, segment: Segment) -> _Kept:
    proof = Proof.of(connection, max(int(segment.seqs[-1]), segment.last_change))
    head = _Head(_FORMAT, segment.layout.stem, segment.dim, segment.rows, segment.last_change, proof)
    return _Kept(head, segment.seqs, segment.states, segment.norms)


def _is_of(connection: sqlite3.Connection, kept: _Kept, segment: Segment, committed: int) -> bool:
    """Say whether a file is of this very layout, and of a time that this history has been through.

    The rows of a segment are in order of seq, and each later one's is greater: where the last is the same, all are.
    """
    head = kept.head
    if (head.stem, head.dim) != (segment.layout.stem, segment.dim) or not 0 < head.rows <= committed:
        return False
    last = connection.execute(_SQL["row_seq"], (segment.ident, segment.layout.number(head.rows - 1))).fetchone()
    return last is not None and last[0] == kept.seqs[-1] and head.proof.holds(connection)


# ── the file: CRC-32 of all that follows; the head, padded; seqs, states, norms ──


def _read(path: Path) -> _Kept | None:
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
    return _Kept(
        head,
        np.frombuffer(content, "<i8", head.rows, _HEAD_BYTES),
        np.frombuffer(content, "<i4", head.rows, states_at),
        np.frombuffer(content, "<f4", head.rows, states_at + 4 * head.rows),
    )


def _write(path: Path, kept: _Kept) -> None:
    if not path.with_suffix(".f32").exists():
        return  # the segment was packed since: nobody would read this
    parts = [
        msgspec.json.encode(kept.head).ljust(_HEAD_BYTES - _CRC_BYTES, b"\0"),
        kept.seqs.astype("<i8").tobytes(),
        kept.states.astype("<i4").tobytes(),
        kept.norms.astype("<f4").tobytes(),
    ]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    with alone(path.with_name(path.name + ".lock")) as is_ours:
        if not is_ours:
            return
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                file.write(crc.to_bytes(_CRC_BYTES, "little"))
                file.writelines(parts)
            reach("rows:written")
        reach("rows:replaced")
