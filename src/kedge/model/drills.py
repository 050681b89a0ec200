"""Verdicts of drills in place, as the log keeps them: the newest one says whether a rollback was rehearsed here."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from kedge.model.durations import duration

PASSED, FAILED = "drill:passed", "drill:failed"
KINDS = (PASSED, FAILED)
WEEK_SECONDS = 7 * 86_400.0


class Step(Protocol):
    """A step of the log."""

    @property
    def at(self) -> float:
        """When it was logged."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def detail(self) -> dict[str, Any]:
        """What was found."""


class DrillState(msgspec.Struct, frozen=True):
    """What the newest drill says: `ok`, or that it `failed`, and one clause; `at` is its time, None: there is none."""

    ok: bool
    why: str
    at: float | None = None
    detail: dict[str, Any] = {}
    failed: bool = False


def judge(steps: Iterable[Step], now: float, within_seconds: float = WEEK_SECONDS) -> DrillState:
    """Return whether the newest drill passed, and is no older than `within_seconds`."""
    newest = max(steps, key=lambda step: step.at, default=None)
    days = within_seconds / 86_400
    within = f"{days:.3g} days" if days > 1 else duration(within_seconds)
    if newest is None or now - newest.at > within_seconds:
        return DrillState(ok=False, why=f"no drill in place within {within}", at=None if newest is None else newest.at)
    if newest.kind == PASSED:
        why = f"a drill in place passed {duration(now - newest.at, units=1)} ago"
    else:
        failed = ", ".join(map(str, newest.detail.get("failed", ()))) or "it did not finish"
        why = f"the newest drill in place failed: {failed}"
    return DrillState(newest.kind == PASSED, why, newest.at, newest.detail, failed=newest.kind != PASSED)


__all__ = ["FAILED", "KINDS", "PASSED", "WEEK_SECONDS", "DrillState", "judge"]
