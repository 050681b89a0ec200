"""Time series of the indicators that rollbacks and drills measured."""

from kedge.errors import InvalidValue
from kedge.recovery.rollback import FAILED, VERIFIED
from kedge.support.display import Value
from kedge.turns.kernel import Kernel

SERIES = (
    "rollback_commit_seconds",
    "rollback_completion_seconds",
    "consensus_latency_seconds",
    "vector_consistency_ratio",
    "memory_divergence_ratio",
    "context_divergence_ratio",
)
"""The indicators of DESIGN §6 that are kept for each run."""


class IndicatorRun(Value, frozen=True):
    """What the verification of one rollback measured; a drill in place is a rollback too.

    `indicators`: the values by name, null where there was nothing to measure. `ok`: whether no fault was found.
    """

    at: float
    deployment: str
    operation: str
    by: str
    ok: bool
    indicators: dict[str, float | None]


def indicator_runs(kernel: Kernel, limit: int) -> list[IndicatorRun]:
    """Return the newest verified rollbacks, the newest first."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidValue(f"invalid limit {limit!r:.40}: must be a whole number of runs, at least 1")
    return [
        IndicatorRun(
            step.at,
            step.deployment or "",
            step.operation,
            step.by,
            step.kind == VERIFIED,
            {name: step.detail.get("indicators", {}).get(name) for name in SERIES},
        )
        for step in kernel.backend.control.steps((VERIFIED, FAILED), limit=limit)
    ]


__all__ = ["SERIES", "IndicatorRun", "indicator_runs"]
