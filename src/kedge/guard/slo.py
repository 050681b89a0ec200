"""Service levels: objectives kept in the log, measured by the rollbacks and drills in it."""

from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.slo_rules import (
    SECONDS,
    SHARES,
    Event,
    Fleet,
    Objective,
    ObjectiveStatus,
    Slo,
    alerting,
    completion,
    estimate,
    parse_slo,
    status_of,
)
from kedge.recovery.rollback import COMMIT, FAILED, VERIFIED, open_work
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel, actor

SET = "slo:set"
ROLLBACKS_MAX = 10_000  # steps that are read


class SloReport(Report, frozen=True):
    """Each objective with what was measured. `ok`: None where there was no event for any of them."""

    at: float
    slo: Slo
    statuses: tuple[ObjectiveStatus, ...]

    @property
    def ok(self) -> bool | None:
        """Whether every objective that was measured keeps its budget; None where none was measured."""
        known = [status.ok for status in self.statuses if status.ok is not None]
        return all(known) if known else None

    def __str__(self) -> str:
        """Return the verdict."""
        wrong = alerting(self.statuses)
        if wrong:
            return f"{', '.join(wrong)}: the error budget is spent, or burns too fast"
        measured = sum(status.events > 0 for status in self.statuses)
        if not measured:
            return "no rollback or drill was measured in the window"
        return f"{count(measured, 'objective')} of {len(self.statuses)} measured, all within budget"


def set_slo(kernel: Kernel, table: Any, *, by: str | None) -> Slo:
    """Keep objectives in the log; they replace those before. Return them."""
    parsed = parse_slo(table)
    plain = msgspec.to_builtins(table["slo"] if set(table) == {"slo"} else table)
    operation = kernel.backend.clock.fresh_id()
    kernel.backend.control.step(operation, SET, by=actor(by), detail={"slo": plain})
    return parsed


def keep_slo(kernel: Kernel, table: Any, *, by: str) -> None:
    """Keep the objectives of a release in the log, unless they are the newest there; without any, change nothing."""
    if table and stored_slo(kernel) != parse_slo(table):
        set_slo(kernel, table, by=by)


def stored_slo(kernel: Kernel) -> Slo | None:
    """Return the newest objectives in the log, or None."""
    newest = kernel.backend.control.steps((SET,), limit=1)
    return parse_slo(newest[0].detail["slo"]) if newest else None


def slo(kernel: Kernel, table: Any = None) -> SloReport:
    """Return what was measured of these objectives, or of those in the log."""
    chosen = stored_slo(kernel) if table is None else parse_slo(table)
    if chosen is None:
        raise InvalidValue("no objectives are set; pass a table [slo], or keep one with `kedge slo --set FILE`")
    now = kernel.backend.clock.now()
    longest = max(objective.window_seconds for objective in chosen.objectives)
    events, measured = _events(kernel, now, longest)
    fleet = _fleet(kernel, measured)
    return SloReport(now, chosen, tuple(_status(each, chosen, events, fleet, now) for each in chosen.objectives))


def _status(
    objective: Objective, chosen: Slo, events: dict[str, list[Event]], fleet: Fleet, now: float
) -> ObjectiveStatus:
    feasible, why = estimate(objective, chosen.sizing, fleet)
    return status_of(objective, events[objective.name], now, feasible=feasible, why=why)


def _events(kernel: Kernel, now: float, window: float) -> tuple[dict[str, list[Event]], dict[str, float]]:
    """Return the events of a window by indicator, and the newest value of each.

    A rollback that has not been verified counts with its age, once that is too long: what never ends is not left out.
    """
    control = kernel.backend.control
    steps = control.steps((VERIFIED, FAILED), after=control.seq_at(now - window), limit=ROLLBACKS_MAX)
    events: dict[str, list[Event]] = {name: [] for name in (*SECONDS, *SHARES)}
    newest: dict[str, float] = {}
    ended = {step.operation for step in steps if step.kind == VERIFIED}
    for step in steps:
        begun = next((e for e in control.entries(operation=step.operation) if e.kind == COMMIT), None)
        values = completion(step.detail.get("indicators", {}), step.at if begun is None else begun.at, step.at)
        if step.kind == FAILED:
            values.pop("rollback_completion", None)  # it has not completed
        for name, value in values.items():
            events[name].append(Event(step.at, value))
            newest.setdefault(name, value)
    for entry, _ in open_work(kernel):
        if entry.kind == COMMIT and entry.operation not in ended:
            events["rollback_completion"].append(Event(now, max(0.0, now - entry.at), pending=True))
    return events, newest


def _fleet(kernel: Kernel, measured: dict[str, float]) -> Fleet:
    members = [member for member in kernel.backend.fleet.members() if not member.expired]
    return Fleet(
        entries=kernel.backend.control.position().seq,
        members=len(members),
        longest_lease_seconds=max((member.lease_seconds for member in members), default=0.0),
        longest_reconcile_seconds=max((each.deadline_seconds for each in kernel.reconcilers.values()), default=0.0),
        measured=measured,
    )


__all__ = ["SloReport", "keep_slo", "set_slo", "slo", "stored_slo"]
