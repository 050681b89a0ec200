"""Erasure of purged content on SQLite: rows of the file, and vectors of the segments."""

import json
from collections.abc import Callable, Iterable

import numpy as np

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.layout import GONE, Layout, Layouts
from kedge.backends.sqlite.segments import SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.errors import DamagedSegment
from kedge.model import erasure

_SQL = queries("erasure")
_VECTORS = queries("vectors")
_Segments = dict[tuple[int, int], tuple[Layout, int, int]]  # by id and packing: layout, dimension, committed rows


class SqliteErasure:
    """The `Erasure` port of one SQLite database."""

    def __init__(self, database: Database, segments: SegmentWriter, layouts: Layouts) -> None:
        self._database = database
        self._segments = segments
        self._layouts = layouts

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Remove the content of all writes of these lineages; return how many writes this call erased."""
        ids = json.dumps(list(lineages))
        last = self._database.ask(_SQL["last_write"])[0][0]
        erased = 0
        for first, upto in erasure.parts(last):
            with self._database.writing("erase") as connection:
                erased += connection.execute(_SQL["erase"], (first, upto, ids)).rowcount
            if progress is not None:
                progress(upto, last)
        self._zero_vectors(ids)
        with self._database.writing("erase-heads") as connection:
            connection.execute(_SQL["erase_heads"], (ids,))
            connection.execute(_SQL["erase_cache"], (ids,))
        with self._database.connection() as connection:
            # The WAL still holds erased pages. Where a reader keeps it in use, the last connection to close empties it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return erased

    def _zero_vectors(self, ids: str) -> None:
        while True:  # until no compaction has copied rows meanwhile
            segments = self._segments_now()
            try:
                self._zero_vectors_in(segments, ids)
            except DamagedSegment:
                if self._segments_now().keys() == segments.keys():
                    raise
            if self._segments_now().keys() == segments.keys():
                return

    def _segments_now(self) -> _Segments:
        with self._database.reading() as connection:
            rows = connection.execute(_SQL["segments"]).fetchall()
            return {
                (segment, packing): (self._layouts.of(connection, segment, packing, gone), dim, committed)
                for segment, packing, gone, dim, committed in rows
            }

    def _zero_vectors_in(self, segments: _Segments, ids: str) -> None:
        by_segment: dict[int, list[int]] = {}
        for segment, number in self._database.ask(_VECTORS["rows_of_lineages"], ids):
            by_segment.setdefault(segment, []).append(number)
        for layout, dim, committed in segments.values():
            positions = layout.positions(np.array(by_segment.get(layout.segment, []), np.int64))
            if len(positions):
                self._segments.erase(layout, dim, committed, positions[positions != GONE].tolist())
