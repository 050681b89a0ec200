"""The segment files, as a check reads them: nothing is created, and what cannot be read is reported once."""

import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self

from kedge.backends.sqlite import ivf, rowcache
from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.segments import FLOAT_BYTES

Connect = Callable[[], sqlite3.Connection]


class SegmentFiles:
    """Open segment files and their committed extents. Use as a context manager."""

    def __init__(self, inspection: Inspection, connect: Connect) -> None:
        self._inspection = inspection
        self._connect = connect
        self._files: dict[int, BinaryIO] = {}
        self._widths: dict[int, int] = {}

    def check(self) -> None:
        """Check that every segment has a file that is as long as its committed rows."""
        inspection = self._inspection
        for ident, collection, space, dim, rows, metric in inspection.connection.execute(SQL["segments"]).fetchall():
            inspection.count("segments")
            where = f"segment {ident}.f32 of {collection!r}"
            if metric is None:
                inspection.report("segment", where, "its collection was never declared")
            self._check_extent(ident, where, rows)
            self._check_caches(ident, where, metric)
            path = inspection.folder / f"{ident}.f32"
            try:
                file = path.open("rb")
            except OSError as error:
                inspection.report("segment", where, f"{path} cannot be read: {error.strerror}")
                continue
            self._files[ident] = file
            self._widths[ident] = dim * FLOAT_BYTES
            size, committed = path.stat().st_size, rows * dim * FLOAT_BYTES
            if size < committed:
                whole = size // (dim * FLOAT_BYTES)
                inspection.report(
                    "segment",
                    where,
                    f"{path} has {size} bytes, {committed} were committed (space {space!r}): rows from {whole} on "
                    f"are gone, the first of them {self._row_name(ident, whole)}",
                )
        for (ident,) in inspection.connection.execute(SQL["rows_without_segment"]):
            inspection.report("segment", f"segment {ident}", "vector rows name it, but it is not in the table")

    def _check_caches(self, ident: int, where: str, metric: str) -> None:
        """Note the files beside a segment that are not what was written: in full if all is to be checked."""
        inspection, folder = self._inspection, self._inspection.folder
        for file in ivf.parts_of(folder, ident, metric):
            sound = ivf.is_sound(folder, file, full=inspection.full)
            if not sound and file in ivf.parts_of(folder, ident, metric):  # still: others build while we look
                inspection.note("index", where, f"{file.file} is not what was written; it will be built anew")
            inspection.count("index files")
        if not rowcache.is_sound(folder, ident):
            inspection.note("rows", where, f"the file {ident}.rows is not what was written; it will be written anew")

    def _check_extent(self, ident: int, where: str, rows: int) -> None:
        count, first, last = self._inspection.connection.execute(SQL["segment_extent"], (ident,)).fetchone()
        if count != rows or (count and (first, last) != (0, rows - 1)):
            self._inspection.report(
                "segment", where, f"{rows} rows were committed; there are {count}, from {first} to {last}"
            )

    def _row_name(self, ident: int, row: int) -> str:
        for found, seq, name in self._inspection.connection.execute(SQL["segment_rows"], (ident,)):
            if found >= row:
                return f"{name} seq {seq}"
        return "unknown"

    def row(self, segment: int, row: int) -> bytes | None:
        """Return the bytes of one row, or None where they cannot be read."""
        file, width = self._files.get(segment), self._widths.get(segment, 0)
        if file is None:
            return None
        try:
            file.seek(row * width)
            content = file.read(width)
        except OSError:
            return None
        return content if len(content) == width else None

    def was_erased_meanwhile(self, seq: int) -> bool:
        """Say whether a purge that runs now has erased a write that this run still sees."""
        connection = self._connect()
        try:
            now = connection.execute(SQL["write_now"], (seq,)).fetchone()
        finally:
            connection.close()
        return now is not None and now[0] is None

    def __enter__(self) -> Self:
        """Return the files."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
