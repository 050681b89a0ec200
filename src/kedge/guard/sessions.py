"""Checks of what one session contributes to a test: its arm, its traffic share, its value."""

import math
from typing import Any, Literal

from kedge.errors import InvalidValue
from kedge.model.numbers import as_plain, as_real
from kedge.support.display import brief

Arm = Literal["canary", "baseline"]


def check_session(arm: Arm, share: Any) -> tuple[bool, float]:
    """Return whether a session is the canary's, and its share, or raise `InvalidValue`."""
    if arm not in ("canary", "baseline"):
        raise InvalidValue(f"invalid arm {brief(arm)}: must be 'canary' or 'baseline'")
    number = as_real(share)
    if number is None or not 0 <= number <= 1:
        raise InvalidValue(f"invalid share {brief(share)}: must be the canary's part of the traffic, from 0 to 1")
    canary = arm == "canary"
    if number == (0 if canary else 1):
        raise InvalidValue(f"invalid share {number:g} of a {arm} session: pass the share when the session was assigned")
    return canary, float(number)


def check_failed(value: Any, kind: str) -> bool:
    """Return whether a session failed, or raise `InvalidValue`. The kind says what True means."""
    answer = as_plain(value)
    if not isinstance(answer, bool):
        raise InvalidValue(
            f"invalid value {brief(value)} ({type(value).__name__}): must be True or False, for a {kind}"
        )
    return answer is (kind == "failure")


def check_score(value: Any, low: float, high: float) -> float:
    """Return a score, scaled to [0, 1], or raise `InvalidValue`."""
    number = as_real(value)
    if number is None or not low <= number <= high:
        raise InvalidValue(f"invalid score {brief(value)}: must be a number from {low:g} to {high:g}")
    return (number - low) / (high - low)


def check_latency(value: Any) -> float:
    """Return a latency, or raise `InvalidValue`."""
    number = as_real(value)
    if number is None or not 0 <= number < math.inf:
        raise InvalidValue(
            f"invalid latency {brief(value)}: must be a finite number, 0 or more; for no answer, its timeout"
        )
    return float(number)
