"""Discovery: what state an agent system keeps, who writes it, and what could not be rolled back."""

from kedge.discovery.traces import TraceReport, read_traces

__all__ = ["TraceReport", "read_traces"]
