"""Traces: who reads and writes which store, folded from OpenTelemetry and Jaeger traces."""

from kedge.discovery.traces.fold import Fold, read_traces
from kedge.discovery.traces.model import BadPart, BlindSpot, External, Handover, StoreName, TraceReport, Traffic

__all__ = [
    "BadPart",
    "BlindSpot",
    "External",
    "Fold",
    "Handover",
    "StoreName",
    "TraceReport",
    "Traffic",
    "read_traces",
]
