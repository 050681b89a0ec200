"""One SQLite database, its parts put together."""

from collections.abc import Callable
from pathlib import Path

from kedge.backends.sqlite.assignments import SqliteAssignments
from kedge.backends.sqlite.attribution import SqliteAttribution
from kedge.backends.sqlite.cache import SqliteCache
from kedge.backends.sqlite.control import SqliteControl
from kedge.backends.sqlite.coverage import SqliteCoverage
from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.erasure import SqliteErasure
from kedge.backends.sqlite.fleet import SqliteFleet
from kedge.backends.sqlite.fsck import inspect
from kedge.backends.sqlite.impact import SqliteImpact
from kedge.backends.sqlite.journal import SqliteJournal
from kedge.backends.sqlite.launches import SqliteLaunches
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.metrics import SqliteMetrics
from kedge.backends.sqlite.provenance import SqliteProvenance
from kedge.backends.sqlite.pruning import SqlitePruning
from kedge.backends.sqlite.reads import Reader
from kedge.backends.sqlite.reclamation import SqliteReclamation
from kedge.backends.sqlite.replay_log import SqliteReplayLog
from kedge.backends.sqlite.requests import SqliteRequests
from kedge.backends.sqlite.segment_writer import folder_of, real_path
from kedge.backends.sqlite.state_upkeep import SqliteStateCollector
from kedge.backends.sqlite.states import States
from kedge.backends.sqlite.upgrade import SqliteUpgrade
from kedge.backends.sqlite.vector_engine import EngineFactory, Parts, SegmentEngine
from kedge.backends.sqlite.verification import SqliteVerification
from kedge.model.fsck.inspection import FsckReport
from kedge.ports.clock import Clock


class SqliteBackend:
    """All ports of one database file and of the segment folder beside it."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        durability: str = "full",
        read_only: bool = False,
        cache_bytes: int,
        engine: EngineFactory = SegmentEngine,
    ) -> None:
        self.clock: Clock = clock
        path = real_path(path)
        self.database = Database(path, durability, read_only=read_only)
        self.interner = Interner()
        self.database.group_commit.on_lost.append(self.interner.forget)
        self.states = States(self.interner)
        reader = Reader(self.database, self.interner, self.states)
        chosen = engine(Parts(path, self.database, self.interner, self.states, reader))
        self.vector_writer = chosen.writer
        self.journal = SqliteJournal(self.database, self.interner, self.states, clock, chosen.writer)
        self.control = SqliteControl(self.database, self.journal, clock)
        self._engine = chosen.open(self.control)
        self.vectors = self._engine.reader
        self.vector_indexer = self._engine.indexer
        self.vector_compactor = self._engine.compactor
        self.assignments = SqliteAssignments(self.database)
        self.attribution = SqliteAttribution(self.database)
        self.impact = SqliteImpact(self.database, self.journal)
        self.provenance = SqliteProvenance(self.database)
        self.replay_log = SqliteReplayLog(self.database)
        self.requests = SqliteRequests(self.database)
        self.coverage = SqliteCoverage(self.database, self.interner)
        self.verification = SqliteVerification(self.database, self.states, self.journal)
        self.erasure = SqliteErasure(self.database, chosen.writer)
        self.reclamation = SqliteReclamation(self.database, self.interner)
        self.pruning = SqlitePruning(self.database)
        self.fleet = SqliteFleet(self.database)
        self.launches = SqliteLaunches(self.database, clock)
        self.upgrade = SqliteUpgrade(self.database, self.control, self.interner, self.states)
        self.state_collector = SqliteStateCollector(self.database, self.states)
        self.metrics = SqliteMetrics(self.database, self.interner, self.journal)
        self.cache = SqliteCache(self.database, self.interner, self.journal, cache_bytes)

    @property
    def url(self) -> str:
        """The address, as `kedge.open` takes it."""
        return f"sqlite:///{self.database.path}"

    @property
    def is_standby(self) -> bool:
        """Whether this is a copy that lags behind: never."""
        return False

    def change_hint(self) -> object:
        """Return the doorbell's time of last change, in nanoseconds."""
        try:
            return self.database.doorbell.stat().st_mtime_ns
        except OSError:
            return None

    def fsck(self, *, full: bool, progress: Callable[[int, int], None] | None) -> FsckReport:
        """Check the database file and the segments, all or a sample of large tables, and write nothing."""
        with self.database.translated():
            return inspect(self.database.path, folder_of(self.database.path), full=full, progress=progress)

    def close(self) -> None:
        """Close the connections that are not in use; the others close when they come back."""
        self._engine.close()
        self.database.close()
