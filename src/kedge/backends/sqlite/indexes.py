"""Keeping the approximate indexes of this process's segments: loading them, and having them built when it is time."""

import os
import threading
import time
from collections.abc import Callable

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.ivf import IvfIndex
from kedge.backends.sqlite.segment import Segment
from kedge.backends.sqlite.segments import SegmentWriter

_used_in: dict[str, int] = {}
_LOOK_SECONDS = 0.5  # how often a process looks for an index that another one has built


class Indexes:
    """The indexes of the segments that this process searches. The caller holds the lock of the vectors."""

    def __init__(self, writer: SegmentWriter) -> None:
        self._writer = writer
        self._loaded: dict[str, tuple[float, object, IvfIndex]] = {}
        self._builder: threading.Thread | None = None

    def of(self, segment: Segment, metric: str) -> IvfIndex | None:
        """Return what is indexed of a segment, as this process knows it; have more built where it is worth it."""
        if segment.rows < ivf.ROWS_MIN or was_used_by_a_parent():
            return None
        now = time.monotonic()
        looked, stamp, index = self._loaded.get(segment.layout.stem, (0.0, None, IvfIndex([])))
        if now - looked > _LOOK_SECONDS:
            found = ivf.stamp(self._writer.folder, segment.layout.stem)
            if found != stamp:
                index = ivf.load(self._writer.folder, segment.layout.stem, metric)
            self._loaded[segment.layout.stem] = (now, found, index)
            if is_due(segment.rows, index):
                self._build_behind(segment, metric)
        return index if index.rows <= segment.rows else None

    def _build_behind(self, segment: Segment, metric: str) -> None:
        if self._builder is not None and self._builder.is_alive():
            return
        self._builder = threading.Thread(target=self.build, args=(segment, metric), name="kedge-index", daemon=True)
        self._builder.start()

    def build(self, segment: Segment, metric: str, progress: Callable[[int, int], None] | None = None) -> int:
        """Index what is not indexed yet, unless another process is at it; return how many rows are indexed then."""
        matrix, rows = segment.matrix, segment.rows // 8 * 8
        if was_used_by_a_parent():
            return 0
        stem, path = segment.layout.stem, self._writer.path(segment.layout)
        with ivf.building(self._writer.folder, stem) as is_ours:
            before = ivf.load(self._writer.folder, stem, metric)
            if not path.exists():  # packed since: it lies in another file, with an index of its own
                return 0
            if not is_ours or rows - before.rows < ivf.ROWS_MIN // 4:
                return before.rows
            first = _first_to_build(before, rows)
            ivf.add_part(self._writer.folder, stem, metric, matrix, first, rows - first)
        if progress is not None:
            progress(rows, rows)
        return rows

    def release(self, segment: Segment) -> None:
        """Let go of the index of a segment that was packed anew."""
        self._loaded.pop(segment.layout.stem, None)

    def forget(self) -> None:
        """Look at the files anew at the next search."""
        self._loaded.clear()


def was_used_by_a_parent() -> bool:
    """Say whether faiss has run in a process that this one was forked from: its threads are gone, and it would crash.

    Such a process searches exactly.
    """
    here = os.getpid()
    return _used_in.setdefault("pid", here) != here


def _first_to_build(index: IvfIndex, rows: int) -> int:
    """Return where a new part begins: it takes in the parts before it that are not much larger, so that few remain."""
    first = index.rows
    for part in reversed(index.parts):
        if part.rows > 2 * (rows - first):
            break
        first = part.first
    return first


def is_due(rows: int, index: IvfIndex) -> bool:
    """Say whether enough rows are not indexed to make indexing them worth it."""
    return rows - index.rows >= ivf.ROWS_MIN
