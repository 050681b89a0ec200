"""Guard: levels of features, and sequential tests of a canary against its baseline that hold under peeking."""

from kedge.guard.balance import BalanceTest
from kedge.guard.cusum import HoldbackTest, SloTest
from kedge.guard.decisions import Decision, Evidence, Step, decide
from kedge.guard.declaring import MetricReport
from kedge.guard.difference import DifferenceSequence, Interval
from kedge.guard.embedding_gate import Probes, freeze_probes
from kedge.guard.failures import FailureTest
from kedge.guard.gates import GateResult, GatesReport
from kedge.guard.health import Finding, Health
from kedge.guard.indicator_runs import IndicatorRun
from kedge.guard.latency import LatencyTest
from kedge.guard.launch_report import LaunchEvent, LaunchPlan, LaunchStatus, MetricStatus
from kedge.guard.metrics import Metric, parse_metrics
from kedge.guard.mirror import below_floor
from kedge.guard.noninferiority import NonInferiorityTest
from kedge.guard.own_readiness import OwnReadiness
from kedge.guard.recompute import Recomputed
from kedge.guard.release import Release, ReleaseFile, read_release
from kedge.guard.scores import ScoreTest
from kedge.guard.settings import (
    FailureSettings,
    GuardSettings,
    LatencySettings,
    MetricSettings,
    ScoreSettings,
)
from kedge.guard.slo import SloReport
from kedge.guard.slo_rules import Objective, ObjectiveStatus, Slo
from kedge.model.observations import ObserveReport

__all__ = [
    "BalanceTest",
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
    "IndicatorRun",
    "Interval",
    "LatencySettings",
    "LatencyTest",
    "LaunchEvent",
    "LaunchPlan",
    "LaunchStatus",
    "Metric",
    "MetricReport",
    "MetricSettings",
    "MetricStatus",
    "NonInferiorityTest",
    "Objective",
    "ObjectiveStatus",
    "ObserveReport",
    "OwnReadiness",
    "Probes",
    "Recomputed",
    "Release",
    "ReleaseFile",
    "ScoreSettings",
    "ScoreTest",
    "Slo",
    "SloReport",
    "SloTest",
    "Step",
    "below_floor",
    "decide",
    "freeze_probes",
    "parse_metrics",
    "read_release",
]
