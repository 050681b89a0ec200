"""Read-only access to segment files for checks; an unreadable file is reported once."""

import os
import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from kedge.backends.sqlite import ivf, row_cache
from kedge.backends.sqlite.compaction import left_over
from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.layout import GONE, Layout, read
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES

Connect = Callable[[], sqlite3.Connection]


class SegmentFiles:
    """Open segment files and their committed extents. Use as a context manager."""

    def __init__(self, inspection: Inspection, connect: Connect) -> None:
        self._inspection = inspection
        self._connect = connect
        self._files: dict[int, BinaryIO] = {}
        self._widths: dict[int, int] = {}
        self._layouts: dict[int, Layout] = {}

    def check(self) -> None:
        """Check that every segment has a file that is as long as its committed rows."""
        inspection = self._inspection
        for ident, collection, space, dim, rows, packing, gone, metric in self._all_segments():
            inspection.count("segments")
            layout = self._layouts[ident] = read(inspection.connection, ident, packing, gone)
            path = inspection.folder / f"{layout.stem}.f32"
            where = f"segment {path.name} of {collection!r}"
            if metric is None:
                inspection.report("segment", where, "its collection was never declared")
            self._check_extent(layout, where, rows)
            self._check_caches(layout, where, metric)
            try:
                file = path.open("rb")
            except OSError as error:
                if self._was_packed_meanwhile(layout):
                    inspection.note("compaction", where, "was packed while this was looked at; it was not checked")
                else:
                    inspection.report("segment", where, f"{path} cannot be read: {error.strerror}")
                continue
            self._files[ident] = file
            self._widths[ident] = dim * FLOAT_BYTES
            size, committed = os.fstat(file.fileno()).st_size, rows * dim * FLOAT_BYTES
            if size < committed:
                whole = size // (dim * FLOAT_BYTES)
                inspection.report(
                    "segment",
                    where,
                    f"{path} has {size} bytes, {committed} were committed (space {space!r}): rows from {whole} on "
                    f"are gone, the first of them {self._row_name(layout, whole)}",
                )
            left = [file.name for file, _ in left_over(inspection.folder, layout) if file.suffix != ".lock"]
            if left:
                message = f"a compaction, at work or stopped, has other files here: {', '.join(left)}"
                inspection.note("compaction", where, f"{message}; they go with it, or at the next open")
        for (ident,) in inspection.connection.execute(SQL["rows_without_segment"]):
            inspection.report("segment", f"segment {ident}", "vector rows name it, but it is not in the table")

    def _all_segments(self) -> list[Any]:
        return self._inspection.connection.execute(SQL["segments"]).fetchall()

    def _check_caches(self, layout: Layout, where: str, metric: str) -> None:
        """Note altered files beside a segment; a full run checks their whole content."""
        inspection, folder = self._inspection, self._inspection.folder
        for file in ivf.parts_of(folder, layout.stem, metric):
            sound = ivf.is_sound(folder, file, full=inspection.full)
            if not sound and file in ivf.parts_of(folder, layout.stem, metric):  # still: others build while we look
                inspection.note("index", where, f"{file.file} is not what was written; it will be built anew")
            inspection.count("index files")
        if not row_cache.is_sound(folder, layout):
            message = f"the file {layout.stem}.rows is not what was written; it will be written anew"
            inspection.note("rows", where, message)

    def _check_extent(self, layout: Layout, where: str, rows: int) -> None:
        """Check that the file has the rows of the table, except those that are still to be deleted."""
        query = self._inspection.connection.execute
        count, first, last = query(SQL["segment_extent"], (layout.segment, layout.below)).fetchone()
        appended = rows - len(layout.kept)
        if count != appended or (count and (first, last) != (layout.below, layout.below + appended - 1)):
            self._inspection.report(
                "segment", where, f"{appended} rows were committed; there are {count}, from {first} to {last}"
            )
        packed = np.fromiter((row[0] for row in query(SQL["rows_below"], (layout.segment, layout.below))), np.int64)
        missing = np.setdiff1d(layout.kept, packed)
        if len(missing):
            message = f"{len(layout.kept)} rows were packed; {len(missing)} are missing, row {missing[0]} first"
            self._inspection.report("segment", where, message)
        if len(packed) > len(layout.kept):
            message = f"{len(packed) - len(layout.kept)} rows are not in it any more; the next compaction deletes them"
            self._inspection.note("compaction", where, message)

    def _row_name(self, layout: Layout, position: int) -> str:
        number = int(layout.numbers(np.array([position], np.int64))[0])
        for found, seq, name in self._inspection.connection.execute(SQL["segment_rows"], (layout.segment,)):
            if found >= number:
                return f"{name} seq {seq}"
        return "unknown"

    def _was_packed_meanwhile(self, layout: Layout) -> bool:
        """Return whether a concurrent compaction has replaced the file."""
        connection = self._connect()
        try:
            now: tuple[int] = connection.execute(SQL["packing_now"], (layout.segment,)).fetchone()
            return now != (layout.packing,)
        finally:
            connection.close()

    def row(self, segment: int, number: int) -> bytes | None:
        """Return the bytes of one row, or None where they cannot be read or were removed."""
        file, width = self._files.get(segment), self._widths.get(segment, 0)
        position = GONE if file is None else self._layouts[segment].position(number)
        if file is None or position == GONE:
            return None
        try:
            file.seek(position * width)
            content = file.read(width)
        except OSError:
            return None
        return content if len(content) == width else None

    def was_erased_meanwhile(self, seq: int) -> bool:
        """Return whether a concurrent purge has erased a write that this run still sees."""
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
