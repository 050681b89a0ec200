"""Decisions of a launch: which step the evidence of its metrics calls for."""

import math
from collections.abc import Mapping
from enum import StrEnum

from kedge.errors import InvalidValue
from kedge.guard.settings import GuardSettings
from kedge.support.display import Value, brief


class Step(StrEnum):
    """What the guard does, from the mildest to the strongest."""

    CONTINUE = "continue"
    HOLD = "hold"  # the ramp stops
    DEGRADE = "degrade"  # half the weight, level supervised, an alert
    ROLL_BACK = "roll_back"


class Evidence(Value, frozen=True):
    """Evidence against a canary: the natural logarithms of the e-value now and of the highest until now."""

    log_e: float
    log_peak: float


class Decision(Value, frozen=True):
    """A step, the metric that calls for it, and its evidence beside the limit that it has reached."""

    step: Step
    metric: str | None = None
    reason: str = ""


def decide(settings: GuardSettings, evidence: Mapping[str, Evidence]) -> Decision:
    """Return the strongest step that any metric calls for; a metric without evidence holds, it never passes.

    A rollback is latched: it follows from the highest e-value until now. The lower steps follow from the e-value now.
    """
    unknown = sorted(set(evidence) - {metric.name for metric in settings.metrics})
    if unknown:
        raise InvalidValue(f"no metric {unknown[0]!r} in the settings: declare it before the first session")
    found = Decision(Step.CONTINUE)
    for metric in settings.metrics:
        decision = _of(metric.name, evidence.get(metric.name), settings, settings.log_threshold(metric))
        if list(Step).index(decision.step) > list(Step).index(found.step):
            found = decision
    return found


def _of(metric: str, evidence: Evidence | None, settings: GuardSettings, log_threshold: float) -> Decision:
    if evidence is None:
        return Decision(Step.HOLD, metric, f"no data of {metric}")
    if not isinstance(evidence, Evidence) or math.isnan(evidence.log_e + evidence.log_peak):
        raise InvalidValue(f"invalid evidence {brief(evidence)} of {metric!r}: must be `evidence` of its test, numbers")
    steps = (
        (Step.ROLL_BACK, evidence.log_peak, log_threshold),
        (Step.DEGRADE, evidence.log_e, math.log(settings.degrade)),
        (Step.HOLD, evidence.log_e, math.log(settings.hold)),
    )
    for step, log_e, limit in steps:
        if log_e >= limit:
            return Decision(step, metric, f"e = {_number(log_e)} of {metric}, limit {_number(limit)}")
    return Decision(Step.CONTINUE)


def _number(log_e: float) -> str:
    return f"{math.exp(log_e):.4g}" if log_e < 30 else f"exp({log_e:.1f})"  # noqa: PLR2004 - for people
