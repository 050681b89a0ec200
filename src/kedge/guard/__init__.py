"""Guard: levels of features, and sequential tests of a canary against its baseline that hold under peeking."""

from kedge.guard.cusum import HoldbackTest, SloTest
from kedge.guard.decisions import Decision, Evidence, Step, decide
from kedge.guard.declaring import MetricReport
from kedge.guard.difference import DifferenceSequence, Interval
from kedge.guard.embedding_gate import Probes, freeze_probes
from kedge.guard.failures import FailureTest
from kedge.guard.gates import GateResult, GatesReport
from kedge.guard.health import Finding, Health
from kedge.guard.latency import LatencyTest
from kedge.guard.metrics import Metric, parse_metrics
from kedge.guard.scores import ScoreTest
from kedge.guard.settings import (
    FailureSettings,
    GuardSettings,
    LatencySettings,
    MetricSettings,
    ScoreSettings,
)
from kedge.model.observations import ObserveReport

__all__ = [
    "Decision",
    "DifferenceSequence",
    "Evidence",
    "FailureSettings",
    "FailureTest",
    "Finding",
    "GateResult",
    "GatesReport",
    "GuardSettings",
    "Health",
    "HoldbackTest",
    "Interval",
    "LatencySettings",
    "LatencyTest",
    "Metric",
    "MetricReport",
    "MetricSettings",
    "ObserveReport",
    "Probes",
    "ScoreSettings",
    "ScoreTest",
    "SloTest",
    "Step",
    "decide",
    "freeze_probes",
    "parse_metrics",
]
