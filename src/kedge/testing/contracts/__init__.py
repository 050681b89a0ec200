"""Contract suites: the laws of each port, as test classes that a backend joins by fixtures.

A backend's test module makes two fixtures and subclasses what it offers:

    @pytest.fixture
    def opener(tmp_path) -> Opener: ...        # opens the same new database again, as another process would
    @pytest.fixture
    def backend(opener) -> Iterator[Backend]: ...

    class TestControl(ControlContract): ...

It adds no test of its own for what is said here. What a backend cannot do is a skip with a reason in its subclass.
"""

from kedge.testing.contracts.cache import CacheContract
from kedge.testing.contracts.compaction import CompactionContract
from kedge.testing.contracts.control import ControlContract
from kedge.testing.contracts.coverage import CoverageContract
from kedge.testing.contracts.erasure import ErasureContract
from kedge.testing.contracts.fleet import FleetContract
from kedge.testing.contracts.hand import Hand, Opener
from kedge.testing.contracts.histories import HistoryContract
from kedge.testing.contracts.impact import ImpactContract
from kedge.testing.contracts.journal import JournalContract
from kedge.testing.contracts.metrics import MetricsContract
from kedge.testing.contracts.provenance import ProvenanceContract, ReplayLogContract
from kedge.testing.contracts.sessions import SessionContract
from kedge.testing.contracts.vectors import VectorContract
from kedge.testing.contracts.verification import VerificationContract

__all__ = [
    "CacheContract",
    "CompactionContract",
    "ControlContract",
    "CoverageContract",
    "ErasureContract",
    "FleetContract",
    "Hand",
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
