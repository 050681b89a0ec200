"""Service levels of rollbacks: objectives, error budgets, burn rates, and whether an objective can be met at all.

Source of budgets and burn rates: Beyer and others 2018, "The Site Reliability Workbook", chapter 5 (alerting on SLOs:
multiwindow, multi-burn-rate alerts, table 5-8). An event is one rollback, drills in place included.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.durations import check_duration
from kedge.model.fleet import patience
from kedge.model.numbers import as_integer, as_real
from kedge.support.display import Value, brief

SECONDS = ("rollback_commit", "rollback_completion", "consensus")
SHARES = ("vector_consistency", "memory_consistency", "context_consistency")
SIZES = ("largest_store", "members")
GOAL, WINDOW_SECONDS = 0.95, 30 * 86_400.0  # at 0.95, one bad event of one burns at 20 ×, and alerts
# Long and short window, and the part of the budget that a burn may use up in the long one: 14.4 ×, 6 × and 1 × of the
# rate that uses up the budget of 30 days exactly.
Alert = tuple[float, float, float, str]
ALERTS: tuple[Alert, ...] = (
    (3_600.0, 300.0, 0.02, "page"),
    (21_600.0, 1_800.0, 0.05, "page"),
    (259_200.0, 21_600.0, 0.10, "ticket"),
)


class Objective(Value, frozen=True):
    """One objective: at least `goal` of the events in the window are good.

    A time is good up to the bound (seconds), a share from the bound on.
    """

    name: str
    bound: float
    goal: float = GOAL
    window_seconds: float = WINDOW_SECONDS

    @property
    def is_time(self) -> bool:
        """Whether the bound is a time, in seconds."""
        return self.name in SECONDS

    def good(self, value: float) -> bool:
        """Return whether an event is good."""
        return value <= self.bound if self.is_time else value >= self.bound


class Sizing(Value, frozen=True):
    """What is expected: the journal's entries, and the members. 0: as it is now."""

    largest_store: int = 0
    members: int = 0


class Slo(Value, frozen=True):
    """The objectives, and the sizes that they must hold at."""

    objectives: tuple[Objective, ...]
    sizing: Sizing = Sizing()


class Event(msgspec.Struct, frozen=True):
    """One measurement: its time and its value. One that is `pending` has its age so far, and counts once it is bad."""

    at: float
    value: float
    pending: bool = False


class Burn(Value, frozen=True):
    """A burn rate over a long and a short window: 1 uses up the budget exactly. None: no event in that window.

    It alerts where both are at least `factor`.
    """

    long_seconds: float
    short_seconds: float
    long: float | None
    short: float | None
    factor: float
    action: str

    @property
    def alerts(self) -> bool:
        """Whether both windows burn at least at the factor."""
        return self.long is not None and self.short is not None and min(self.long, self.short) >= self.factor


class ObjectiveStatus(Value, frozen=True):
    """What was measured of one objective. `budget_left` is a share of the budget: negative where it is overspent.

    None: no event in the window. `feasible` says whether the bound can be met at the stated size, `why` from what.
    """

    objective: Objective
    events: int
    bad: int
    last: float | None
    worst: float | None
    budget_left: float | None
    burns: tuple[Burn, ...]
    feasible: bool | None
    why: str

    @property
    def ok(self) -> bool | None:
        """Whether the budget lasts and no burn alerts; None without an event."""
        if self.budget_left is None:
            return None
        return self.budget_left >= 0 and not any(burn.alerts for burn in self.burns)


# ── settings ──


def parse_slo(table: Any) -> Slo:
    """Return the objectives of a table `[slo]`, or raise `InvalidValue`.

    `rollback_completion = "30s"`, `vector_consistency = 0.999`, or with a goal and a window:
    `consensus = {at_most = "5s", goal = 0.95, window = "7d"}`. `largest_store` and `members` are what is expected.
    """
    if isinstance(table, Mapping) and set(table) == {"slo"}:
        table = table["slo"]
    if not isinstance(table, Mapping) or not set(table) - set(SIZES):
        raise InvalidValue(f'invalid slo {brief(table)}: must be a table such as rollback_completion = "30s"')
    known = (*SECONDS, *SHARES, *SIZES)
    for name in table:
        if name not in known:
            raise InvalidValue(f"unknown objective {name!r}{nearest(str(name), known)}; there are {', '.join(known)}")
    sizes = {
        name: as_integer(name, table[name], "a whole number from 1 on", least=1) for name in SIZES if name in table
    }
    objectives = (_objective(name, table[name]) for name in (*SECONDS, *SHARES) if name in table)
    return Slo(tuple(objectives), Sizing(**sizes))


def _objective(name: str, given: Any) -> Objective:
    bound, goal, window = given, GOAL, WINDOW_SECONDS
    key = "at_most" if name in SECONDS else "at_least"
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - {key, "goal", "window"})
        if unknown or key not in given:
            raise InvalidValue(f"invalid {name} {brief(given)}: must have {key}, and may have goal and window")
        bound = given[key]
        goal = _share(f"goal of {name}", given.get("goal", GOAL))
        window = check_duration(f"window of {name}", given.get("window", WINDOW_SECONDS))
    number = check_duration(name, bound) if name in SECONDS else _share(name, bound, whole=True)
    return Objective(name, number, goal, window)


def _share(what: str, given: Any, *, whole: bool = False) -> float:
    number = as_real(given)
    if number is None or not (0 < number < 1 or (whole and number == 1)):
        up_to = "up to" if whole else "below"
        raise InvalidValue(f"invalid {what} {brief(given)}: must be a share above 0 and {up_to} 1")
    return float(number)


# ── budgets ──


def status_of(
    objective: Objective, events: Sequence[Event], now: float, *, feasible: bool | None, why: str
) -> ObjectiveStatus:
    """Return what the events say of an objective."""
    counted = (event for event in events if not (event.pending and objective.good(event.value)))
    within = sorted((e for e in counted if now - e.at <= objective.window_seconds), key=lambda event: event.at)
    values = [event.value for event in within]
    bad = sum(not objective.good(value) for value in values)
    left = 1 - bad / ((1 - objective.goal) * len(values)) if values else None
    worst = (max(values) if objective.is_time else min(values)) if values else None
    last = values[-1] if values else None
    burns = tuple(_burn(objective, within, now, alert) for alert in ALERTS)
    return ObjectiveStatus(objective, len(values), bad, last, worst, left, burns, feasible, why)


def _burn(objective: Objective, events: Sequence[Event], now: float, alert: Alert) -> Burn:
    long, short, part, action = alert
    rates = [burn_rate(objective, [e for e in events if now - e.at <= window]) for window in (long, short)]
    return Burn(long, short, rates[0], rates[1], part * objective.window_seconds / long, action)


def burn_rate(objective: Objective, events: Sequence[Event]) -> float | None:
    """Return the share of bad events as a multiple of the share that the goal allows; None without an event."""
    if not events:
        return None
    return sum(not objective.good(event.value) for event in events) / len(events) / (1 - objective.goal)


# ── feasibility ──


class Fleet(msgspec.Struct, frozen=True):
    """What an estimate rests on: what is there now, and what the newest measured rollback took, by indicator."""

    entries: int
    members: int
    longest_lease_seconds: float
    longest_reconcile_seconds: float
    measured: Mapping[str, float]


def estimate(objective: Objective, sizing: Sizing, fleet: Fleet) -> tuple[bool | None, str]:
    """Return whether a time can be met at the stated size, and why; None where nothing was measured.

    - A commit costs the same at every size (DESIGN §4, Constant cost).
    - Consensus is taken to grow with the members in proportion: each acknowledges in a transaction of its own. A member
      that dies without leaving is waited for until its lease is over, whatever was measured.
    - A completion is commit + the longer of consensus and reconciliation + verification. The latter reads samples of a
      fixed size. It is taken to grow with the square root of the journal: measured were 67 ms at 2,000 writes, 99 ms at
      20,000 and 389 ms at 200,000 (`bench.big`).
    """
    if not objective.is_time:
        return None, "no time: nothing to estimate"
    more_members = max(1.0, sizing.members / max(1, fleet.members))
    more_entries = math.sqrt(max(1.0, sizing.largest_store / max(1, fleet.entries)))
    dead = patience(fleet.longest_lease_seconds) if fleet.longest_lease_seconds else 0.0
    commit = fleet.measured.get("rollback_commit")
    consensus = fleet.measured.get("consensus", 0.0) * more_members
    if objective.name == "consensus":
        return _consensus(objective.bound, consensus if "consensus" in fleet.measured else None, dead, more_members)
    if commit is None:
        return None, "no rollback was measured: run `kedge drill --in-place`"
    if objective.name == "rollback_commit":
        return commit <= objective.bound, f"the newest commit took {commit:.3g} s, and size does not change it"
    whole = fleet.measured.get("rollback_completion")
    if whole is None:
        return None, "no completed rollback was measured: run `kedge drill --in-place`"
    verification = max(0.0, whole - commit - fleet.measured.get("consensus", 0.0)) * more_entries
    waits = max(consensus, dead, fleet.longest_reconcile_seconds)
    total = commit + waits + verification
    parts = f"commit {commit:.3g} s + wait {waits:.3g} s + verification {verification:.3g} s"
    return total <= objective.bound, f"at most about {total:.3g} s: {parts}"


def _consensus(bound: float, measured: float | None, dead: float, more: float) -> tuple[bool | None, str]:
    if dead > bound:
        return False, f"a member that dies is waited for up to {dead:.3g} s: join with a shorter lease_seconds"
    if measured is None:
        return None, "no acknowledgement was measured: roll back with members, or run `kedge drill --in-place`"
    said = f"measured × {more:.3g} is {measured:.3g} s"
    return measured <= bound, f"{said}; a member that dies is waited for up to {dead:.3g} s" if dead else said


def completion(indicators: Mapping[str, Any], committed_at: float, finished_at: float) -> dict[str, float]:
    """Return the measured values of a verified rollback by the name of an objective.

    A rollback that another process finished has no time of its own: then the times of the log count.
    """
    found = {
        "rollback_commit": indicators.get("rollback_commit_seconds"),
        "rollback_completion": indicators.get("rollback_completion_seconds"),
        "consensus": indicators.get("consensus_latency_seconds"),
        "vector_consistency": indicators.get("vector_consistency_ratio"),
        "memory_consistency": _rest(indicators.get("memory_divergence_ratio")),
        "context_consistency": _rest(indicators.get("context_divergence_ratio")),
    }
    if found["rollback_completion"] is None:
        found["rollback_completion"] = max(0.0, finished_at - committed_at)
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def _rest(ratio: float | None) -> float | None:
    return None if ratio is None else 1.0 - ratio


def alerting(statuses: Iterable[ObjectiveStatus]) -> list[str]:
    """Return the names of the objectives whose budget is spent, or burns too fast."""
    return [status.objective.name for status in statuses if status.ok is False]


__all__ = [
    "ALERTS", "SECONDS", "SHARES", "Burn", "Event", "Fleet", "Objective", "ObjectiveStatus", "Sizing", "Slo",
    "alerting", "burn_rate", "completion", "estimate", "parse_slo", "status_of",
]  # fmt: skip
