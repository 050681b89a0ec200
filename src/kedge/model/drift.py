"""Metrics of context drift, which Kedge takes itself: their names, and their declarations as tables."""

from typing import Any

STALE_READS, MEMORY_GROWTH = "drift.stale_reads", "drift.memory_growth"
REFUSED, TRANSLATED, UNABSORBED = "drift.refused_messages", "drift.translated_messages", "drift.unabsorbed_calls"
DRIFT: dict[str, dict[str, Any]] = {
    STALE_READS: {"kind": "score", "better": "lower", "absent": 0.0, "role": "signal"},
    MEMORY_GROWTH: {"kind": "count", "high": 1_000.0, "absent": 0.0, "role": "signal"},
    REFUSED: {"kind": "failure", "absent": False, "role": "signal"},
    TRANSLATED: {"kind": "failure", "absent": False, "role": "signal"},
    UNABSORBED: {"kind": "failure", "absent": False, "role": "signal"},
}

__all__ = ["DRIFT", "MEMORY_GROWTH", "REFUSED", "STALE_READS", "TRANSLATED", "UNABSORBED"]
