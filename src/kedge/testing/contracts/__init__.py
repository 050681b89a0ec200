"""Contract suites: the laws of each port as test classes. A backend joins them by two fixtures.

The test module of a backend defines the fixtures and subclasses the suites of the ports that it implements:

    @pytest.fixture
    def opener(tmp_path) -> Opener: ...        # opens the same new database again, as another process would
    @pytest.fixture
    def backend(opener) -> Iterator[Backend]: ...

    class TestControl(ControlContract): ...

It adds no tests of its own for these laws. A law that a backend cannot keep is a skip, with a reason, in its subclass.
"""

from kedge.testing.contracts.attribution import AttributionContract
from kedge.testing.contracts.backend_driver import BackendDriver, Opener
from kedge.testing.contracts.cache import CacheContract
from kedge.testing.contracts.compaction import CompactionContract
from kedge.testing.contracts.control import ControlContract
from kedge.testing.contracts.coverage import CoverageContract
from kedge.testing.contracts.erasure import ErasureContract
from kedge.testing.contracts.fleet import FleetContract
from kedge.testing.contracts.histories import HistoryContract
from kedge.testing.contracts.impact import ImpactContract
from kedge.testing.contracts.journal import JournalContract
from kedge.testing.contracts.metrics import MetricsContract
from kedge.testing.contracts.provenance import ProvenanceContract, ReplayLogContract
from kedge.testing.contracts.sessions import SessionContract
from kedge.testing.contracts.vectors import VectorContract
from kedge.testing.contracts.verification import VerificationContract

__all__ = [
    "AttributionContract",
    "BackendDriver",
    "CacheContract",
    "CompactionContract",
    "ControlContract",
    "CoverageContract",
    "ErasureContract",
    "FleetContract",
    "HistoryContract",
    "ImpactContract",
    "JournalContract",
    "MetricsContract",
    "Opener",
    "ProvenanceContract",
    "ReplayLogContract",
    "SessionContract",
    "VectorContract",
    "VerificationContract",
]
