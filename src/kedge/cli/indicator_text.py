"""Text of indicators."""

from kedge.cli.terminal import listing
from kedge.recovery.verify import Indicators


def indicator_lines(found: Indicators) -> list[tuple[str, str]]:
    """Return a label and a text for each indicator, then what was found wrong."""
    lines = [
        ("rollback_commit_seconds", _seconds(found.rollback_commit_seconds)),
        ("rollback_completion_seconds", _seconds(found.rollback_completion_seconds)),
        ("consensus_latency_seconds", _seconds(found.consensus_latency_seconds)),
        ("vector_consistency_ratio", _ratio(found.vector_consistency_ratio, good=1.0)),
        ("memory_divergence_ratio", _ratio(found.memory_divergence_ratio, good=0.0)),
        ("context_divergence_ratio", _ratio(found.context_divergence_ratio, good=0.0)),
        ("hidden_writes_total", f"{found.hidden_writes_total:,}  (by all rollbacks)"),
        ("replay_pending_total", f"{found.replay_pending_total:,}"),
    ]
    if found.diverging:
        lines.append(("STILL HELD", listing(found.diverging)))
    if found.leaks:
        lines.append(("LEAKS", listing(found.leaks)))
    return lines


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _ratio(value: float | None, *, good: float) -> str:
    if value is None:
        return "no samples"
    return f"{value:.4f}" + ("" if value == good else f"  (must be {good:.0f})")
