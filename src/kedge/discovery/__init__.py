"""Discovery: what state an agent system keeps, who writes it, and what could not be rolled back."""

from kedge.discovery.map import ContextMap, context_map
from kedge.discovery.readiness.report import readiness
from kedge.discovery.scanning import Scan, scan
from kedge.discovery.traces import TraceReport, read_traces

__all__ = ["ContextMap", "Scan", "TraceReport", "context_map", "read_traces", "readiness", "scan"]
