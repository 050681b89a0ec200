"""Units of a launch: the sessions that chance assigned, with their arm, share and verdicts at their deadline."""

from typing import Literal

from kedge.guard.metrics import Metric
from kedge.support.display import Value

Phase = Literal["canary", "holdback"]


class Unit(Value, frozen=True):
    """One session as the tests of a launch take it.

    `seq`: the order of assignment. `unit`: what was drawn, a user or the session. `share`: the probability of the
    canary when it was assigned. `verdicts`: by metric, as its test takes it; None: missing at its deadline; a metric
    for which this session does not count is not there. `is_first`: whether it is the first session of its unit.
    `phase`: in "holdback", after the promotion, the sessions held back are the baseline.
    """

    seq: int
    unit: str
    session: str
    arm: Literal["canary", "baseline"]
    share: float
    at: float
    verdicts: dict[str, float | bool | None]
    is_first: bool = True
    phase: Phase = "canary"


def impute(metric: Metric, unit: Unit) -> float | bool:
    """Return a unit's verdict of a metric, as its test takes it; a missing one counts against finding a difference.

    It counts bad for the baseline and good for the canary, so that missing verdicts never roll a canary back. A latency
    without an answer is the timeout in both arms.
    """
    found = unit.verdicts[metric.name]
    if found is not None:
        return found
    return metric.worst if metric.kind == "latency" or unit.arm == "baseline" else metric.best
