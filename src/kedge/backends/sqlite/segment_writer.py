"""Segment writer: float32 rows appended to a segment file, with the state of every row in SQLite."""

import errno
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from kedge.backends.sqlite import cache_files
from kedge.backends.sqlite.catalog import Catalog
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.layout import GONE, Layout, Layouts
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.errors import DamagedSegment, InvalidValue, InvalidVector, KedgeError, ReadOnly, StorageFull
from kedge.model.lineage import Lineage
from kedge.model.states import Rule, are_same
from kedge.model.vector_groups import VectorGroup
from kedge.model.writes import Row, VectorBatch
from kedge.ports.vectors import Collection
from kedge.support.failpoints import reach

_SQL = queries("vectors")
FLOAT_BYTES = 4
_FEW_ROWS = 4  # of a key: to look at as many costs less than to look whether another head covers them
BACKGROUND_BYTES = 1 << 20  # from this size on, a thread that writes the file costs less than waiting for the disk


class Place(msgspec.Struct, frozen=True):
    """The place of a batch's rows: a segment, and the number of the first row."""

    segment: int
    first: int


class SegmentWriter:
    """The `VectorWriter` of segment files. The file is synced before the transaction commits its new length."""

    def __init__(self, database: Database, folder: Path, interner: Interner, states: States) -> None:
        self.folder = folder
        self.layouts = Layouts()
        self.on_commit: Callable[[], None] = lambda: None
        self._database = database
        self._interner = interner
        self._states = states
        self._catalog = Catalog(database)

    def path(self, layout: Layout) -> Path:
        """Return the file of a segment."""
        return self.folder / f"{layout.stem}.f32"

    # ── the port ──

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to the existing one of that name; return the stored collection."""
        return self._catalog.declare(collection, at)

    def committed(self) -> None:
        """Run what is to follow a commit."""
        self.on_commit()

    @contextmanager
    def storing(self, connection: sqlite3.Connection, group: VectorGroup, settled: Lineage) -> Iterator[None]:
        """Append the vectors of a group to their segment file, then record their places and states.

        A large batch is written by a thread while the block runs. When the block ends, in whatever way, the rows are
        on disk or the attempt failed, and nothing writes to the file any more.
        """
        rows, vectors = group.rows, group.vectors
        if vectors is None:
            yield
            self._supersede(connection, rows, self._states.rule(connection, settled))
            return
        place, path, offset = self._find_place(connection, group.collection, vectors)
        append = partial(self._append, path, offset, vectors.rows)
        if len(vectors.rows) < BACKGROUND_BYTES:
            append()
            yield
            self._record(connection, rows, place, settled)
            return
        writing = _BackgroundWrite(append)
        try:
            writing.start()
            yield
            self._record(connection, rows, place, settled)
        finally:
            try:
                writing.end()
            finally:
                writing.end()  # an interruption may arrive before the first call has begun to wait
        if writing.error is not None:
            raise writing.error

    def _record(self, connection: sqlite3.Connection, rows: Sequence[Row], place: Place, settled: Lineage) -> None:
        """Record places and states of the rows of a batch, and mark the rows that they supersede."""
        rule = self._states.rule(connection, settled)
        self._supersede(connection, rows, rule)
        segment, first = place.segment, place.first
        seqs_in_order = all(row.rank == row.seq for row in rows)
        plain: dict[int, int] = {}
        records = []
        for offset, row in enumerate(rows):
            if seqs_in_order:
                if row.lineage not in plain:
                    plain[row.lineage] = self._states.plain(connection, row.lineage)
                state = plain[row.lineage]
            else:
                state = self._born_state(connection, segment, first + offset, row, rule)
            records.append((segment, first + offset, row.seq, row.space, row.key.name, row.rank, state))
        connection.executemany(_SQL["row_insert"], records)
        reach("segment:rows")
        connection.execute(_SQL["segment_grow"], (len(rows), segment))

    def _find_place(
        self, connection: sqlite3.Connection, collection: str, vectors: VectorBatch
    ) -> tuple[Place, Path, int]:
        """Return the place of the next rows, their file, and their offset in it (bytes)."""
        found = connection.execute(_SQL["segment"], (collection, vectors.space)).fetchone()
        if found is None:
            segment = connection.execute(_SQL["segment_insert"], (collection, vectors.space, vectors.dim)).fetchone()[0]
            found = (segment, 0, vectors.dim, 0, 0)
        segment, rows, dim, packing, gone = found
        if dim != vectors.dim:
            raise InvalidVector(
                f"the embedding space {vectors.space!r} of {collection!r} has {dim} dimensions, not {vectors.dim}; "
                "a new embedder needs a digest of its own"
            )
        return Place(segment, rows + gone), self.path(Layout(segment, packing)), rows * dim * FLOAT_BYTES

    def _append(self, path: Path, offset: int, content: bytes) -> None:
        try:
            if offset == 0:  # a new segment: drop what a failed attempt has left
                self.folder.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if offset == 0 else 0), 0o644)
            try:
                self._check_length(path, descriptor, offset)
                written = 0
                while written < len(content):
                    written += os.pwrite(descriptor, content[written:], offset + written)
                    reach("segment:written")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if offset == 0:
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
        except OSError as error:
            raise translated(error, path) from error
        reach("segment:synced")

    # ── erasing ──

    def erase(self, lineages: Iterable[int]) -> None:
        """Overwrite the vectors of these lineages with zeros, and delete the files derived from them."""
        ids = json.dumps(list(lineages))
        while True:  # until no compaction has copied rows in the meantime
            layouts = self._layouts_now()
            try:
                self._erase_in(layouts, ids)
            except DamagedSegment:
                if self._layouts_now().keys() == layouts.keys():
                    raise
            if self._layouts_now().keys() == layouts.keys():
                return

    def _layouts_now(self) -> dict[tuple[int, int], tuple[Layout, int, int]]:
        """Return layout, dimension and committed rows of each segment, by (id, packing number)."""
        with self._database.reading() as connection:
            segments = connection.execute("SELECT id, packing, gone, dim, rows FROM segments").fetchall()
            return {(found[0], found[1]): (self.layouts.of(connection, *found[:3]), *found[3:]) for found in segments}

    def _erase_in(self, layouts: dict[tuple[int, int], tuple[Layout, int, int]], ids: str) -> None:
        with self._database.connection() as connection:
            rows = connection.execute(_SQL["rows_of_lineages"], (ids,)).fetchall()
        by_segment: dict[int, list[int]] = {}
        for segment, number in rows:
            by_segment.setdefault(segment, []).append(number)
        for layout, dim, committed in layouts.values():
            positions = layout.positions(np.array(by_segment.get(layout.segment, []), np.int64))
            if len(positions):
                self._erase_rows(layout, dim, committed, positions[positions != GONE].tolist())

    def _erase_rows(self, layout: Layout, dim: int, committed: int, positions: Sequence[int]) -> None:
        """Overwrite committed rows with zeros, and delete the files derived from them. May be repeated."""
        path = self.path(layout)
        try:
            lock = cache_files.index_lock(self.folder, layout.stem)
            with cache_files.exclusive_lock(lock, wait=True):  # a running index build has read the rows
                self._zero(path, dim * FLOAT_BYTES, committed, positions)
                cache_files.drop(self.folder, layout.stem)
        except OSError as error:
            raise translated(error, path) from error

    def _zero(self, path: Path, width: int, committed: int, positions: Sequence[int]) -> None:
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._check_length(path, descriptor, committed * width)
            for position in positions:
                os.pwrite(descriptor, bytes(width), position * width)
                reach("erase:vector")
            reach("erase:vectors")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_length(self, path: Path, descriptor: int, committed: int) -> None:
        """Raise `DamagedSegment` for a file shorter than committed: a write would fill the gap with zeros."""
        size = os.fstat(descriptor).st_size
        if size < committed:
            raise DamagedSegment(
                f"the segment {path} has {size} bytes, {committed} were committed; restore it from a backup"
            )

    # ── states ──

    def _supersede(self, connection: sqlite3.Connection, rows: Sequence[Row], rule: Rule) -> None:
        """Update the states of the rows that the writes of a batch supersede, and log what superseded them."""
        found = connection.execute(_SQL["rows_to_supersede"], (rows[0].seq, rows[-1].seq)).fetchall()
        writes, below = {row.seq: row for row in rows}, Counter(row[-1] for row in found)
        moves: dict[tuple[int, int], int] = {}  # (state, superseding lineage) → new state
        covers: dict[int, _Cover] = {}
        now: dict[tuple[int, int], int] = {}
        log = []
        for segment, position, state, rank, row_seq, seq in found:
            if seq not in writes:  # of another group of the batch
                continue
            place, by = (segment, position), writes[seq].lineage
            if below[seq] > _FEW_ROWS and seq not in covers:
                covers[seq] = self._cover(connection, writes[seq], (rows[0].seq, rule))
            if seq in covers and (rank, row_seq) < covers[seq].lasting:
                continue
            before = now.get(place, state)
            if (before, by) not in moves:
                moves[before, by] = self._superseded(connection, before, by, rule)
            after = moves[before, by]
            if after == before:  # contested, or superseded by the same lineages as before
                if self._states.above_uncached(connection, before) is not None:
                    continue
                if seq not in covers:
                    covers[seq] = self._cover(connection, writes[seq], (rows[0].seq, rule))
                if (rank, row_seq) < covers[seq].any:
                    continue
            else:
                now[place] = after
            log.append((seq, segment, position, by))
        connection.executemany(_SQL["row_state"], [(state, *place) for place, state in now.items()])
        connection.executemany(_SQL["supersede_insert"], log)

    def _superseded(self, connection: sqlite3.Connection, state: int, lineage: int, rule: Rule) -> int:
        own, before = self._states.of(connection, state)[0], self._states.above_uncached(connection, state)
        members = self._interner.members_uncached
        after = rule.superseded(members(connection, own), before, [members(connection, lineage)])
        return state if are_same(before, after) else self._states.intern(connection, own, after, rule)

    def _cover(self, connection: sqlite3.Connection, write: Row, batch: tuple[int, Rule]) -> "_Cover":
        """Return the places below which a lineage within the one of this write supersedes all rows already."""
        first, rule = batch
        members = partial(self._interner.members_uncached, connection)
        by, cover, lasting = members(write.lineage) - rule.settled, (0, 0), (0, 0)
        for rank, seq, lineage in connection.execute(_SQL["covers"], (write.space, write.key.name, first)).fetchall():
            own = members(lineage)
            if own - rule.settled <= by:
                cover = max(cover, (rank, seq))
                if own.isdisjoint(rule.settled):
                    lasting = max(lasting, (rank, seq))
        return _Cover(cover, lasting)

    def _born_state(self, connection: sqlite3.Connection, segment: int, position: int, row: Row, rule: Rule) -> int:
        """Return the state of a replayed row: later writes to its key supersede it from the start."""
        above = connection.execute(_SQL["lineages_above"], (row.space, row.key.name, row.rank, row.seq)).fetchall()
        for (lineage,) in above:
            connection.execute(_SQL["supersede_insert"], (row.seq, segment, position, lineage))
        members = partial(self._interner.members_uncached, connection)
        superseders = rule.superseded(members(row.lineage), (), [members(lineage) for (lineage,) in above])
        return self._states.intern(connection, row.lineage, superseders, rule)


class _Cover(NamedTuple):
    """The (rank, seq) of the newest head of a key whose lineage a write's lineage includes.

    `lasting`: of one without settled members. Nothing changes for the rows below that one.
    """

    any: tuple[int, int]
    lasting: tuple[int, int]


class _BackgroundWrite:
    """A file write in a thread. `end` always waits for it: after an interruption, nothing may write any more.

    It does not use `Thread.join`: before Python 3.13, an interrupted `join` marks a running thread as ended.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._is_begun = self._is_given_up = False
        self._done = threading.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start the thread; if this is interrupted before the write has begun, the write never begins."""
        try:
            threading.Thread(target=self._run, name="kedge-segment").start()
        except BaseException:
            with self._lock:
                self._is_given_up = True
                if not self._is_begun:
                    self._done.set()
            raise

    def _run(self) -> None:
        with self._lock:
            if self._is_given_up:
                return
            self._is_begun = True
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - `storing` raises it
            self.error = error
        finally:
            self._done.set()

    def end(self) -> None:
        """Wait until the write has ended, and only then raise an interruption of the wait."""
        interruption: BaseException | None = None
        while True:
            try:
                self._done.wait()
                break
            except BaseException as error:  # noqa: BLE001 - raised below
                interruption = error
        if interruption is not None:
            raise interruption


def folder_of(path: Path) -> Path:
    """Return the folder that holds the segment files of a database file."""
    return path.with_name(path.name + "-vectors")


def real_path(path: Path) -> Path:
    """Return the file behind symbolic links, beside which its vectors lie; unchanged where there is no link."""
    real = Path(os.path.realpath(path))
    if real == path.absolute():
        return path
    beside, folder = folder_of(path), folder_of(real)
    if beside.is_dir() and not folder.exists():
        raise InvalidValue(
            f"the vectors of {real} lie beside the link {path}, where earlier versions wrote them: move {beside} to "
            f"{folder} while no process uses the database; delete it if it belongs to another one"
        )
    return real


def translated(error: OSError, path: Path) -> KedgeError:
    """Return the Kedge error for an error of the file system."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StorageFull(f"no room to extend {path} ({error.strerror}); nothing was written: free some space")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return ReadOnly(f"{path} cannot be written ({error.strerror}); check its permissions and its folder's")
    if error.errno == errno.ENOENT:
        return DamagedSegment(f"the segment {path} is missing; restore it from a backup")
    return DamagedSegment(f"{path} cannot be extended ({error.strerror}); nothing was written: check the disk")


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
