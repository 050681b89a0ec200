"""Backend port: the parts of one database."""

from collections.abc import Callable
from typing import Any, Protocol

from kedge.model.fsck.inspection import FsckReport
from kedge.ports.assignments import Assignments
from kedge.ports.attribution import Attribution
from kedge.ports.cache import Cache
from kedge.ports.clock import Clock
from kedge.ports.control import Control
from kedge.ports.coverage import EmbeddingCoverage
from kedge.ports.erasure import Erasure
from kedge.ports.fleet import Fleet
from kedge.ports.impact import Impact
from kedge.ports.journal import Journal
from kedge.ports.launches import Launches
from kedge.ports.metrics import Metrics
from kedge.ports.provenance import Provenance
from kedge.ports.pruning import Pruning
from kedge.ports.reclamation import Reclamation
from kedge.ports.replay_log import ReplayLog
from kedge.ports.requests import Requests
from kedge.ports.states import StateCollector
from kedge.ports.upgrade import Upgrade
from kedge.ports.vectors import VectorCompactor, VectorIndexer, VectorReader, VectorWriter
from kedge.ports.verification import Verification


class Backend(Protocol):
    """One database; its parts share transactions where their laws need it."""

    @property
    def url(self) -> str:
        """The address, as `kedge.open` takes it."""

    @property
    def is_standby(self) -> bool:
        """Whether this is a copy that may lag behind now, and so cannot show the present for certain."""

    @property
    def control(self) -> Control:
        """The control record."""

    @property
    def journal(self) -> Journal:
        """The journal."""

    @property
    def vectors(self) -> VectorReader:
        """The vectors, for reading."""

    @property
    def vector_writer(self) -> VectorWriter[Any]:
        """The vectors, for declaring collections, and for the journal to write."""

    @property
    def vector_indexer(self) -> VectorIndexer | None:
        """What indexes vectors on request, or None."""

    @property
    def vector_compactor(self) -> VectorCompactor | None:
        """What compacts vectors, or None."""

    @property
    def metrics(self) -> Metrics:
        """Metric samples."""

    @property
    def cache(self) -> Cache:
        """Cached results."""

    @property
    def fleet(self) -> Fleet:
        """The members."""

    @property
    def assignments(self) -> Assignments:
        """What sessions were fixed to."""

    @property
    def launches(self) -> Launches:
        """The launches."""

    @property
    def attribution(self) -> Attribution:
        """Agents, what their turns saw, and what does not carry it."""

    @property
    def impact(self) -> Impact:
        """What deployments wrote, and what hiding them changes."""

    @property
    def provenance(self) -> Provenance:
        """Turns, their reads, and the source writes behind them."""

    @property
    def replay_log(self) -> ReplayLog:
        """Which inputs were replayed."""

    @property
    def requests(self) -> Requests:
        """Requests for approval."""

    @property
    def coverage(self) -> EmbeddingCoverage:
        """Which documents have a vector of their own."""

    @property
    def verification(self) -> Verification:
        """Readers' answers compared with the truth."""

    @property
    def state_collector(self) -> StateCollector:
        """Collection of unreferenced states."""

    @property
    def erasure(self) -> Erasure:
        """Removal of purged content."""

    @property
    def reclamation(self) -> Reclamation:
        """Removal of superseded content."""

    @property
    def pruning(self) -> Pruning:
        """Removal of bookkeeping that is older than its policy."""

    @property
    def upgrade(self) -> Upgrade:
        """The schema, and the end of an upgrade."""

    @property
    def clock(self) -> Clock:
        """The source of time and fresh ids."""

    def change_hint(self) -> object:
        """Return something that differs once another process may have changed the control record; costs no query."""

    def fsck(self, *, full: bool, progress: Callable[[int, int], None] | None) -> FsckReport:
        """Check what is on disk, all of it or a sample of large tables, in one snapshot; write nothing."""

    def close(self) -> None:
        """Close the database."""
