"""Vector engine of an SQLite database: the seam where another engine is put in, and the built-in engine.

`SqliteBackend` takes an `EngineFactory`. The built-in one stores vectors in segment files beside the database. Another
engine is one module with a factory (`kedge.testing.memory_vectors`); journal, control record and all else stay.
What still reads segment files directly: `kedge fsck`, the survey's `vector_agreement`, and `kedge migrate`.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kedge.backends.sqlite.compaction import Compactor
from kedge.backends.sqlite.control import SqliteControl
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import Reader
from kedge.backends.sqlite.segment_writer import SegmentWriter, folder_of
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upkeep import Upkeep
from kedge.backends.sqlite.vectors import SqliteVectors
from kedge.ports.vectors import VectorCompactor, VectorIndexer, VectorReader, VectorWriter


@dataclass(frozen=True)
class Parts:
    """The parts of an SQLite database that a vector engine works with; `reader` reads the journal."""

    path: Path
    database: Database
    interner: Interner
    states: States
    reader: Reader


@dataclass(frozen=True)
class OpenEngine:
    """An engine in use: its reader, its optional abilities, and what closes it."""

    reader: VectorReader
    indexer: VectorIndexer | None = None
    compactor: VectorCompactor | None = None
    close: Callable[[], None] = lambda: None


class VectorEngine(Protocol):
    """A vector engine of one SQLite database."""

    @property
    def writer(self) -> VectorWriter[sqlite3.Connection]:
        """The writer that the journal calls."""

    def open(self, control: SqliteControl) -> OpenEngine:
        """Return the reader, once journal and control record exist. Called once, after the schema is up to date."""


EngineFactory = Callable[[Parts], VectorEngine]


class SegmentEngine:
    """The built-in engine: float32 rows in segment files, exact search and an IVF index over them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.writer = SegmentWriter(parts.database, folder_of(parts.path), parts.interner, parts.states)

    def open(self, control: SqliteControl) -> OpenEngine:
        """Return the reader, after removing the files that a crashed compaction left."""
        parts = self._parts
        compactor = Compactor(parts.database, control, parts.interner, parts.states, self.writer)
        upkeep = Upkeep(parts.database, compactor)
        self.writer.on_commit = upkeep.consider
        vectors = SqliteVectors(parts.database, parts.interner, parts.states, parts.reader, self.writer, upkeep)
        compactor.tidy()
        return OpenEngine(vectors, vectors, vectors, vectors.close)
