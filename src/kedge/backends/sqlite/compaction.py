"""Compaction: copies a segment into a new file, without the rows that no view can need any more.

The new file is written while all processes go on reading and writing the old one. One short transaction copies the rows
that were appended meanwhile, and makes the new file the segment's. Rows keep their numbers, so nothing else in the
database changes. The remains of the dropped rows are deleted in small steps, which any process may finish.
"""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from kedge.backends.sqlite import ivf
from kedge.backends.sqlite.cache_files import Proof, drop
from kedge.backends.sqlite.control import SqliteControl
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.indexes import is_forked_after_use
from kedge.backends.sqlite.layout import GONE, Layout, deflated
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.segment_writer import FLOAT_BYTES, SegmentWriter, sync_folder, translated
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.errors import Corruption, DamagedSegment, StorageFull
from kedge.model.compaction import Ints, Log, Readable, Rows, rows_to_go
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.retention import kept_seconds
from kedge.ports.vectors import Reclaimed
from kedge.support.failpoints import reach

_SQL = queries("compaction")
_COPY_BYTES = 4 << 20
_SWAP_ROWS = 2_000  # writers wait for the copy of no more, unless they append faster than they can be caught up with
_CATCH_UPS = 20
_CLEAR_ROWS = 2_000  # rows or log entries that one transaction deletes
_PAUSE_SECONDS_MAX = 0.1
_NOTHING = Reclaimed(0, 0)

Progress = Callable[[int, int], None]


class _Overtaken(Exception):
    """The plan is older than a purge, or than a longer retention: make a new one."""


class _Plan(msgspec.Struct, frozen=True):
    """The rows of a segment to keep, by number and seq, and the facts that this was decided on."""

    layout: Layout
    dim: int
    rows: int
    kept: Ints
    seqs: Ints
    readable: Readable
    retention: float | None
    purged: Lineage
    rolled_back: Lineage
    reclaimed: int
    metric: str | None

    @property
    def leaving(self) -> int:
        """The number of rows to drop."""
        return self.rows - len(self.kept)

    @property
    def after(self) -> Layout:
        """The layout of the segment after compaction."""
        before, below = self.layout, self.rows + self.layout.gone
        return Layout(before.segment, before.packing + 1, before.gone + self.leaving, below, self.kept)


class Compactor:
    """Compacts the segments of one database, and finishes what crashed compactions have left."""

    def __init__(
        self, database: Database, control: SqliteControl, interner: Interner, states: States, writer: SegmentWriter
    ) -> None:
        self._database = database
        self._control = control
        self._interner = interner
        self._states = states
        self._writer = writer
        self.layouts = writer.layouts

    def compact(
        self, segment: int, *, share: float, wait: bool, progress: Progress | None = None, logged: bool = True
    ) -> Reclaimed:
        """Compact a segment if more than this share of its rows may go; skip a locked one unless `wait` is set."""
        while True:
            layout = self._layout(segment)
            with _translating(self._writer.path(layout)), self._locked(layout, wait=wait) as is_ours:
                if not is_ours:
                    return _NOTHING
                if self._layout(segment).packing != layout.packing:
                    continue  # another process has just packed it
                self._clear(segment, staged=True)
                plan = self._decide(segment)
                if plan.leaving <= share * plan.rows:
                    return _NOTHING
                try:
                    self._pack(plan, progress, logged=logged)
                except _Overtaken:
                    continue
                self._clear(segment, staged=False)  # the lock is that of the former layout
            return Reclaimed(plan.leaving, plan.leaving * plan.dim * FLOAT_BYTES)

    def reclaimed(self, collection: str) -> int:
        """Return the seq before which a collection is readable at snapshots only."""
        with self._database.connection() as connection:
            return int(connection.execute(_SQL["reclaimed"], (collection,)).fetchone()[0])

    def segments_of(self, collection: str) -> list[int]:
        """Return the segments of a collection."""
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(_SQL["of_collection"], (collection,))]

    def _layout(self, segment: int) -> Layout:
        with self._database.reading() as connection:
            _, _, packing, gone, *_ = connection.execute(_SQL["extent"], (segment,)).fetchone()
            return self.layouts.of(connection, segment, packing, gone)

    # ── deciding ──

    def _decide(self, segment: int) -> _Plan:
        """Decide which rows may go. It stays right: points that become readable later are after the horizon."""
        record = self._control.load()
        with self._database.reading() as connection:
            collection = connection.execute(_SQL["extent"], (segment,)).fetchone()[4]
        retention = _kept_seconds(record, collection)
        readable = self._control.readable(retention)
        with self._database.reading() as connection:
            count, dim, packing, gone, collection, *_ = connection.execute(_SQL["extent"], (segment,)).fetchone()
            layout = self.layouts.of(connection, segment, packing, gone)
            metric = connection.execute(_SQL["metric"], (collection,)).fetchone()
            numbers, seqs, states = _table(connection, "rows", segment)
            here = layout.positions(numbers) != GONE
            numbers, seqs, states = numbers[here], seqs[here], states[here]
            if len(numbers) != count:
                raise Corruption(
                    f"{count} rows of segment {segment} were committed, {len(numbers)} are there; run `kedge fsck`"
                )
            present, state_of = np.unique(states, return_inverse=True)
            known = self._states.known(connection, present.tolist())
            rows = Rows(seqs, np.array([known[state][0] for state in present.tolist()], np.int64)[state_of])
            log = _log_by_position(connection, layout)
            ids = np.unique(np.concatenate([rows.lineages, log.lineages])).tolist()
            members = {ident: self._interner.members(connection, ident) for ident in ids}
            sources = [row[0] for row in connection.execute(_SQL["sources"], (segment,))] if record.rolled_back else []
        going = rows_to_go(rows, log, members, readable, record.purged) & ~np.isin(seqs, sources)
        purged = np.isin(rows.lineages, [ident for ident in ids if not members[ident].isdisjoint(record.purged)])
        needs_horizon = bool((going & ~purged & (seqs < readable.horizon.seq)).any())
        return _Plan(
            layout, dim, count, numbers[~going], seqs[~going], readable, retention, record.purged, record.rolled_back,
            readable.horizon.seq if needs_horizon else 0, None if metric is None else metric[0],
        )  # fmt: skip

    # ── packing ──

    def _pack(self, plan: _Plan, progress: Progress | None, *, logged: bool) -> None:
        source, after = self._writer.path(plan.layout), plan.after
        target = self._writer.path(after)
        try:
            with _translating(target), _Copy(source, target, plan.dim * FLOAT_BYTES) as copy:
                copy.rows(plan.layout.positions(plan.kept), plan.rows, progress)
                reach("compaction:copied")
                self._index(plan)
                copied = plan.rows
                for _ in range(_CATCH_UPS):
                    rows = self._rows(plan.layout.segment)
                    if rows - copied <= _SWAP_ROWS:
                        break
                    copy.range(copied, rows)
                    copied = rows
                copy.sync()
                reach("compaction:synced")
                self._swap(plan, copy, copied, logged=logged)
        except BaseException:
            if self._layout(plan.layout.segment).packing == plan.layout.packing:
                self._remove_files(plan.layout, staged=True)
            raise

    def _rows(self, segment: int) -> int:
        with self._database.connection() as connection:
            return int(connection.execute(_SQL["extent"], (segment,)).fetchone()[0])

    def _index(self, plan: _Plan) -> None:
        """Index the new file if the old one is indexed, so that no search loses the index."""
        folder, rows = self._writer.folder, len(plan.kept) // 8 * 8
        if plan.metric is None or rows < ivf.ROWS_MIN or is_forked_after_use():
            return
        if not ivf.parts_of(folder, plan.layout.stem, plan.metric):
            return
        path = self._writer.path(plan.after)
        matrix = np.asarray(np.memmap(path, np.float32, "r", shape=(rows, plan.dim)))
        with self._database.connection() as connection:
            proof = Proof.of(connection, int(plan.seqs[rows - 1]))
        try:
            ivf.add_part(folder, plan.after.stem, plan.metric, matrix, 0, proof)
        except (OSError, StorageFull):  # the index is a cache, and compaction will free the space for it
            drop(folder, plan.after.stem)

    def _swap(self, plan: _Plan, copy: "_Copy", copied: int, *, logged: bool) -> None:
        segment = plan.layout.segment
        with self._database.writing("compaction") as connection:
            rows, _, packing, _, collection, space, _ = connection.execute(_SQL["extent"], (segment,)).fetchone()
            record = self._control.load_in(connection)
            retention = _kept_seconds(record, collection)
            is_longer = plan.retention is not None and (retention is None or retention > plan.retention)
            is_needed = record.rolled_back > plan.rolled_back  # source rows, for its replay
            if packing != plan.layout.packing or record.purged != plan.purged or is_longer or is_needed:
                raise _Overtaken
            copy.range(copied, rows)
            copy.sync()
            connection.execute(_SQL["swap"], (segment, plan.leaving, plan.reclaimed))
            connection.execute(_SQL["packing_insert"], (segment, plan.after.below, deflated(plan.kept)))
            reach("compaction:swapped")
            if not logged:
                return
            detail = {
                "collection": collection, "space": space, "rows": plan.leaving,
                "bytes": plan.leaving * plan.dim * FLOAT_BYTES, "reclaimed": plan.reclaimed,
            }  # fmt: skip
            self._control.note_in(connection, f"compaction:{segment}:{packing + 1}", "compaction", detail)

    # ── clearing ──

    def tidy(self) -> None:
        """Delete the files that crashed compactions have left. Their rows go with the next compaction."""
        if self._database.read_only or not self._writer.folder.is_dir():
            return
        with self._database.connection() as connection:
            packings = connection.execute(_SQL["packings"]).fetchall()
        names = os.listdir(self._writer.folder)  # noqa: PTH208 - names are what is looked at
        for segment, packing in packings:
            layout = Layout(segment, packing)
            if any(_packing_of(name, segment) not in {None, packing} for name in names):
                with suppress(OSError), self._locked(layout, wait=False) as is_ours:
                    if is_ours and self._layout(segment).packing == packing:
                        self._remove_files(layout, staged=True)

    def _locked(self, layout: Layout, *, wait: bool) -> AbstractContextManager[bool]:
        return ivf.build_lock(self._writer.folder, layout.stem, wait=wait)

    def _remove_files(self, layout: Layout, *, staged: bool) -> None:
        """Delete the files of a segment's former layouts; with `staged`, also those of an unfinished one (lock held).

        A process that has a file mapped keeps it.
        """
        for path, packing in left_over(self._writer.folder, layout):
            if staged or packing < layout.packing:
                path.unlink(missing_ok=True)
                reach("compaction:removed")

    def _clear(self, segment: int, *, staged: bool) -> None:
        """Delete the remains of dropped rows: first former files, then the rows, then their log entries."""
        layout = self._layout(segment)
        self._remove_files(layout, staged=staged)
        with self._database.reading() as connection:
            cleared = connection.execute(_SQL["is_cleared"], (segment,)).fetchone()
            if cleared is None or cleared[0]:
                return
            (numbers,) = _table(connection, "numbers_below", segment, layout.below, columns=1)
        gone = numbers[layout.positions(numbers) == GONE]
        self._delete("row_delete", [(segment, number) for number in gone.tolist()])
        with self._database.reading() as connection:  # no log entry is added for a deleted row
            entries = np.stack(_table(connection, "log", segment), axis=1)
        entries = entries[layout.positions(entries[:, 0]) == GONE]
        self._delete("log_delete", [(segment, *entry) for entry in entries.tolist()])
        with self._database.writing("cleared") as connection:
            connection.execute(_SQL["cleared"], (segment, layout.packing))

    def _delete(self, name: str, keys: list[tuple[int, ...]]) -> None:
        for start in range(0, len(keys), _CLEAR_ROWS):
            began = time.monotonic()
            with self._database.writing("clear") as connection:
                connection.executemany(_SQL[name], keys[start : start + _CLEAR_ROWS])
            time.sleep(min(time.monotonic() - began, _PAUSE_SECONDS_MAX))  # writers get half of the time


def _kept_seconds(record: ControlRecord, collection: str) -> float | None:
    """Return for how many seconds superseded rows of a collection are kept, by its policy or the horizon of reads."""
    horizon = record.retention_seconds
    return kept_seconds(record.policies, "vectors", collection, horizon, unset=horizon)


class _Copy:
    """A new segment file, filled with rows of another. A context manager."""

    def __init__(self, source: Path, target: Path, width: int) -> None:
        self._path = source
        self._width = width
        self._source = os.open(source, os.O_RDONLY)
        try:
            self._target = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        except BaseException:
            os.close(self._source)
            raise
        self._folder = target.parent
        self._end = 0

    def rows(self, positions: Ints, rows: int, progress: Progress | None) -> None:
        """Append the rows at these positions, which are among the first `rows` of the source."""
        if os.fstat(self._source).st_size < rows * self._width:
            raise DamagedSegment(f"the segment {self._path} ends before row {rows}; restore it from a backup")
        if not len(positions):
            return
        mapped = np.memmap(self._path, np.uint8, "r", shape=(rows, self._width))
        step = max(1, _COPY_BYTES // self._width)
        for start in range(0, len(positions), step):
            self._append(mapped[positions[start : start + step]].tobytes())
            if progress is not None:
                progress(min(start + step, len(positions)), len(positions))

    def range(self, first: int, last: int) -> None:
        """Append the rows from `first` up to, not including, `last`."""
        at, end = first * self._width, last * self._width
        while at < end:
            content = os.pread(self._source, min(_COPY_BYTES, end - at), at)
            if not content:
                raise DamagedSegment(f"the segment {self._path} ends before row {last}; restore it from a backup")
            self._append(content)
            at += len(content)

    def _append(self, content: bytes) -> None:
        written = 0
        while written < len(content):
            written += os.pwrite(self._target, content[written:], self._end + written)
        self._end += len(content)

    def sync(self) -> None:
        """Sync the file and its folder to disk."""
        os.fsync(self._target)
        sync_folder(self._folder)

    def __enter__(self) -> Self:
        """Return the copy."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both files."""
        os.close(self._source)
        os.close(self._target)


@contextmanager
def _translating(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translated(error, target) from error


def _table(connection: sqlite3.Connection, name: str, *asked: int, columns: int = 3) -> tuple[Ints, ...]:
    found = connection.execute(_SQL[name], asked)
    numbers = np.fromiter((number for row in found for number in row), np.int64).reshape(-1, columns)
    return tuple(numbers.T)


def _log_by_position(connection: sqlite3.Connection, layout: Layout) -> Log:
    numbers, seqs, lineages = _table(connection, "log", layout.segment)
    rows = layout.positions(numbers)
    here = rows != GONE
    return Log(rows[here], seqs[here], lineages[here])


def _packing_of(name: str, segment: int) -> int | None:
    """Return the packing number in the name of a segment's file, or None if the file is another segment's."""
    found = re.match(r"(\d+)(?:-(\d+))?\.", name)
    return int(found[2] or 0) if found is not None and int(found[1]) == segment else None


def left_over(folder: Path, layout: Layout) -> list[tuple[Path, int]]:
    """Return the files of a segment's other layouts, each with its packing number."""
    found = [(path, _packing_of(path.name, layout.segment)) for path in sorted(folder.iterdir())]
    return [(path, packing) for path, packing in found if packing is not None and packing != layout.packing]
