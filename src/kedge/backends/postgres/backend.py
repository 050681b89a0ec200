"""One PostgreSQL database, its parts put together."""

from collections.abc import Callable

from kedge.backends.postgres.assignments import PostgresAssignments
from kedge.backends.postgres.attribution import PostgresAttribution
from kedge.backends.postgres.cache import PostgresCache
from kedge.backends.postgres.change_listener import ChangeListener
from kedge.backends.postgres.compaction import PostgresCompactor
from kedge.backends.postgres.control import PostgresControl
from kedge.backends.postgres.coverage import PostgresCoverage
from kedge.backends.postgres.database import RETRY_SECONDS, Database
from kedge.backends.postgres.erasure import PostgresErasure
from kedge.backends.postgres.fleet import PostgresFleet
from kedge.backends.postgres.fsck import inspect
from kedge.backends.postgres.impact import PostgresImpact
from kedge.backends.postgres.journal import PostgresJournal
from kedge.backends.postgres.launches import PostgresLaunches
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.metrics import PostgresMetrics
from kedge.backends.postgres.pools import Given
from kedge.backends.postgres.provenance import PostgresProvenance
from kedge.backends.postgres.pruning import PostgresPruning
from kedge.backends.postgres.reclamation import PostgresReclamation
from kedge.backends.postgres.replay_log import PostgresReplayLog
from kedge.backends.postgres.requests import PostgresRequests
from kedge.backends.postgres.state_upkeep import PostgresStateCollector
from kedge.backends.postgres.states import States
from kedge.backends.postgres.upgrade import PostgresUpgrade
from kedge.backends.postgres.vector_rows import VectorRows
from kedge.backends.postgres.vectors import PostgresVectors
from kedge.backends.postgres.verification import PostgresVerification
from kedge.model.fsck.inspection import FsckReport
from kedge.ports.clock import Clock, SystemClock


class PostgresBackend:
    """All ports of one database. Without a clock, the journal's times are the database's."""

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        durability: str = "full",
        read_only: bool = False,
        cache_bytes: int,
        retry_seconds: float = RETRY_SECONDS,
        pool: Given | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.database = Database(url, durability, read_only=read_only, retry_seconds=retry_seconds, pool=pool)
        self.interner = Interner()
        self.states = States(self.interner)
        self.vector_writer = VectorRows(self.database, self.interner, self.states)
        now = clock.now if clock is not None else lambda: None
        self.journal = PostgresJournal(self.database, self.interner, self.states, self.vector_writer, now)
        self.control = PostgresControl(self.database, self.journal)
        self.vectors = PostgresVectors(self.database, self.interner, self.states, self.journal, self.vector_writer)
        self.vector_indexer = self.vectors
        self.assignments = PostgresAssignments(self.database)
        self.attribution = PostgresAttribution(self.database)
        self.impact = PostgresImpact(self.database, self.journal)
        self.provenance = PostgresProvenance(self.database)
        self.replay_log = PostgresReplayLog(self.database)
        self.requests = PostgresRequests(self.database)
        self.coverage = PostgresCoverage(self.database, self.interner)
        self.verification = PostgresVerification(self.database, self.interner, self.states)
        self.erasure = PostgresErasure(self.database, self.vector_writer)
        self.reclamation = PostgresReclamation(self.database, self.interner)
        self.pruning = PostgresPruning(self.database)
        self.vector_compactor = PostgresCompactor(self.database, self.control, self.reclamation, self.clock)
        self.metrics = PostgresMetrics(self.database, self.interner, self.journal)
        self.cache = PostgresCache(self.database, self.interner, self.journal, cache_bytes)
        self.fleet = PostgresFleet(self.database)
        self.launches = PostgresLaunches(self.database, self.journal, now)
        self.upgrade = PostgresUpgrade(self.database, self.interner, self.states)
        self.state_collector = PostgresStateCollector(self.database, self.states)
        self._change_listener = ChangeListener(self.database)
        for cache in (self.interner, self.states, self.journal, self.control):
            self.database.known.add(cache.missing)

    @property
    def url(self) -> str:
        """The address, without the password."""
        return self.database.url

    @property
    def is_standby(self) -> bool:
        """Whether this is a standby now."""
        return self.database.is_standby

    def change_hint(self) -> object:
        """Return the number of change notifications."""
        return self._change_listener.count()

    def fsck(self, *, full: bool, progress: Callable[[int, int], None] | None) -> FsckReport:
        """Check the database, all of it or a sample of large tables, and write nothing."""
        return self.database.read(lambda link: inspect(link, full=full, progress=progress))

    def close(self) -> None:
        """Close the connections that are not in use; the others close when they come back."""
        self._change_listener.close()
        self.database.close()
