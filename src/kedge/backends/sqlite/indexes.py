"""Index manager: loads the IVF indexes of this process's segments, checks them, and builds more in the background."""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakKeyDictionary

import msgspec

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.cache_files import BackgroundTask, Proof
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.ivf import IvfIndex, PartFile
from kedge.backends.sqlite.layout import Layout, Packed
from kedge.backends.sqlite.segment import Segment
from kedge.backends.sqlite.segment_writer import SegmentWriter, translated
from kedge.backends.sqlite.sql import queries

_SQL = queries("vectors")
_used_in: dict[str, int] = {}
_LOOK_SECONDS = 0.5  # between two looks for an index that another process has built
_FAILED_SECONDS = 600.0  # pause after a failed build: a full disk stays full for a while
_NEVER = float("-inf")


class _Loaded(msgspec.Struct, frozen=True):
    """The loaded index of a segment, its files, and the time of the last look (monotonic seconds)."""

    at: float
    files: list[PartFile]
    index: IvfIndex


_NOTHING = _Loaded(_NEVER, [], IvfIndex([]))


class Indexes:
    """The indexes of the segments that this process searches. The caller holds the lock of the vectors."""

    def __init__(self, database: Database, writer: SegmentWriter) -> None:
        self._database = database
        self._folder = writer.folder
        self._loaded: WeakKeyDictionary[Segment, _Loaded] = WeakKeyDictionary()
        self._builder = BackgroundTask("kedge-index")
        self._failed_at = _NEVER
        self._checker = BackgroundTask("kedge-index-check")
        self._sound: dict[PartFile, bool] = {}  # the files that this process has read in full

    def of(self, connection: sqlite3.Connection, segment: Segment, metric: str) -> IvfIndex | None:
        """Return the index of a segment that has caught up, and start a build if enough rows are not indexed."""
        if segment.rows < ivf.ROWS_MIN or is_forked_after_use():
            return None
        loaded = self._loaded.get(segment, _NOTHING)
        if time.monotonic() - loaded.at > _LOOK_SECONDS:
            loaded = self._look(connection, segment, metric, loaded)
            self._loaded[segment] = loaded
        return loaded.index

    def _look(self, connection: sqlite3.Connection, segment: Segment, metric: str, before: _Loaded) -> _Loaded:
        files = self._usable(connection, segment.layout, metric)
        index = before.index
        if files != before.files or index.rows < _end(files):
            index = ivf.load(self._folder, files)
        unread = [file for file in files if file not in self._sound]
        if unread:
            self._checker.start(lambda: self._check(segment.layout.stem, metric, unread))
        if is_due(segment.rows, index) and self._may_build():
            self._build_in_background(segment, metric)
        return _Loaded(time.monotonic(), files, index)

    def _usable(self, connection: sqlite3.Connection, layout: Layout, metric: str) -> list[PartFile]:
        """Return the index files of this history that are not known to be damaged, up to the first other one.

        Rows ascend by seq, and each later one's is greater: if the last row of a part is the same, all are.
        """
        found = []
        for file in ivf.parts_of(self._folder, layout.stem, metric):
            number = layout.number(file.first + file.rows - 1)
            last = connection.execute(_SQL["row_seq"], (layout.segment, number)).fetchone()
            is_ours = last is not None and last[0] == file.proof.seq and file.proof.holds(connection)
            if not is_ours or not self._sound.get(file, True):
                break
            found.append(file)
        return found

    def _check(self, stem: str, metric: str, files: Sequence[PartFile]) -> None:
        """Read index files in full; remove a damaged one, and all after it, from the index."""
        for file in files:
            self._sound[file] = ivf.is_sound(self._folder, file)
            if self._sound[file] or self._database.read_only:
                continue
            with ivf.build_lock(self._folder, stem) as is_ours:
                now = ivf.parts_of(self._folder, stem, metric)
                if is_ours and file in now:
                    ivf.put_parts(self._folder, stem, metric, now[: now.index(file)])
            return

    # ── building ──

    def _may_build(self) -> bool:
        return not self._database.read_only and time.monotonic() - self._failed_at > _FAILED_SECONDS

    def _build_in_background(self, segment: Segment, metric: str) -> None:
        def build() -> None:
            self._failed_at = time.monotonic()  # reset below after a success
            with suppress(Packed):
                self.build(segment, metric, wait=False)
            self._failed_at = _NEVER

        self._builder.start(build)

    def build(
        self,
        segment: Segment,
        metric: str,
        progress: Callable[[int, int], None] | None = None,
        *,
        wait: bool = True,
    ) -> int:
        """Index the rows that are not indexed yet; return the number of indexed rows.

        If another process is building, wait for it, or return at once if `wait` is not set. Raise `Packed` if a
        compaction has replaced the segment file.
        """
        folder, layout = self._folder, segment.layout
        matrix = segment.matrix
        rows = min(segment.rows, len(matrix)) // 8 * 8  # the segment may grow meanwhile
        last = int(segment.seqs[rows - 1])
        if is_forked_after_use():
            return 0
        try:
            with ivf.build_lock(folder, layout.stem, wait=wait) as is_ours:
                with self._database.connection() as connection:  # not during the build: a fork waits for connections
                    layout.check(connection)
                    if is_ours:
                        for file in ivf.parts_of(folder, layout.stem, metric):
                            self._sound[file] = self._sound.get(file, False) or ivf.is_sound(folder, file)
                    before = self._usable(connection, layout, metric)
                    if not is_ours or rows - _end(before) < ivf.ROWS_MIN // 4:
                        return _end(before)
                    proof = Proof.of(connection, last)
                first = _first_to_build(before, rows)
                file = ivf.add_part(folder, layout.stem, metric, matrix[:rows], first, proof)
                self._sound[file] = True
        except OSError as error:
            raise translated(error, folder) from error
        if progress is not None:
            progress(rows, rows)
        return rows

    def forget(self) -> None:
        """Read the manifests again at the next search."""
        self._loaded.clear()


def is_forked_after_use() -> bool:
    """Say whether faiss has run in a process that this one was forked from.

    Its threads do not survive the fork, and it would crash. Such a process searches exactly.
    """
    here = os.getpid()
    return _used_in.setdefault("pid", here) != here


def _end(files: Sequence[PartFile]) -> int:
    """Return the number of indexed rows."""
    return files[-1].first + files[-1].rows if files else 0


def _first_to_build(files: Sequence[PartFile], rows: int) -> int:
    """Return the first row of a new part. It absorbs former parts that are not much larger, to keep parts few."""
    first = _end(files)
    for file in reversed(files):
        if file.rows > 2 * (rows - first):
            break
        first = file.first
    return first


def is_due(rows: int, index: IvfIndex) -> bool:
    """Say whether so many rows are not indexed that a build pays off."""
    return rows - index.rows >= ivf.ROWS_MIN
