"""Words for ways back and times."""

from __future__ import annotations

import math

from kedge.model.durations import duration
from kedge.model.readiness import Span, StoreReadiness, WayBack

_WAYS = {
    WayBack.DEPLOYMENT: "by deployment",
    WayBack.FORK: "fork",
    WayBack.HISTORY: "by hand, from its history",
    WayBack.PITR: "to any moment",
    WayBack.SNAPSHOT: "snapshot",
    WayBack.BACKUP: "backup",
    WayBack.COPY: "copy of its files",
    WayBack.REBUILD: "built anew",
    WayBack.NONE: "none",
    WayBack.UNKNOWN: "not known",
}


def way_text(store: StoreReadiness) -> str:
    """Return the way back of a store in words."""
    if store.way is WayBack.REBUILD and store.kind == "volatile":
        return "lost at a restart"
    return _WAYS[store.way]


def writers_text(store: StoreReadiness, most: int = 1) -> str:
    """Return who writes a store, at most so many, and the count of the rest."""
    if not store.writers:
        return "not known"
    shown, more = "; ".join(store.writers[:most]), len(store.writers) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def seconds_text(seconds: float) -> str:
    """Return a time in words: "2 ms", "35 min"."""
    if math.isinf(seconds):
        return "never"
    return f"{seconds * 1000:.3g} ms" if 0 < seconds < 1 else duration(seconds, units=1 if seconds < 3600 else 2)  # noqa: PLR2004


def span_text(span: Span | None) -> str:
    """Return fast, likely and worst in words."""
    if span is None:
        return "never"
    if span.worst == 0:
        return "with the restart"
    return f"{seconds_text(span.likely)} ({seconds_text(span.fast)} to {seconds_text(span.worst)})"


__all__ = ["seconds_text", "span_text", "way_text", "writers_text"]
