"""Service levels: settings, budgets, burn rates, and what can be met."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.errors import InvalidValue
from kedge.guard.slo_rules import (
    Event,
    Fleet,
    Objective,
    Sizing,
    Slo,
    burn_rate,
    completion,
    estimate,
    parse_slo,
    status_of,
)

NOW = 10_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
COMPLETION = Objective("rollback_completion", 30.0, 0.9)


def events(*ages: float, value: float = 60.0) -> list[Event]:
    return [Event(NOW - age, value) for age in ages]


def status(found: list[Event], objective: Objective = COMPLETION) -> Any:
    return status_of(objective, found, NOW, feasible=None, why="")


# ── settings ──


def test_a_table_states_bounds_goals_windows_and_sizes() -> None:
    table = {
        "rollback_completion": "30s",
        "consensus": {"at_most": 5, "goal": 0.9, "window": "7d"},
        "vector_consistency": 0.999,
        "largest_store": 10_000_000,
        "members": 1_000,
    }
    expected = Slo(
        (
            Objective("rollback_completion", 30.0),
            Objective("consensus", 5.0, 0.9, 7 * DAY),
            Objective("vector_consistency", 0.999),
        ),
        Sizing(10_000_000, 1_000),
    )
    assert parse_slo(table) == parse_slo({"slo": table}) == expected


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "must be a table"),
        (7, "must be a table"),
        ({"members": 3}, "must be a table"),
        ({"rollback_completoin": "30s"}, "did you mean 'rollback_completion'"),
        ({"consensus": "soon"}, "invalid consensus 'soon'"),
        ({"consensus": 0}, "invalid consensus 0"),
        ({"consensus": {"at_least": 0.9}}, "must have at_most"),
        ({"consensus": {"at_most": "5s", "goals": 1}}, "must have at_most, and may have goal and window"),
        ({"consensus": {"at_most": "5s", "goal": 1}}, "invalid goal of consensus 1"),
        ({"vector_consistency": 1.1}, "above 0 and up to 1"),
        ({"vector_consistency": 0.9, "members": 0}, "members"),
    ],
)
def test_other_tables_are_refused(table: Any, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        parse_slo(table)


# ── budgets and burn rates ──


def test_a_budget_is_the_share_of_bad_events_that_the_goal_allows() -> None:
    found = status([*events(*range(1, 16), value=10.0), *events(20), *events(100 * DAY)])
    assert (found.events, found.bad) == (16, 1), "what is older than the window does not count"
    assert found.budget_left == pytest.approx(1 - 1 / 1.6)
    assert (found.last, found.worst, found.ok) == (10.0, 60.0, True)
    assert status([*events(40, 30), *events(*range(1, 16), value=10.0)]).budget_left < 0


def test_without_an_event_nothing_is_said() -> None:
    found = status([])
    assert (found.ok, found.budget_left, found.last) == (None, None, None)
    assert all(burn.long is None and not burn.alerts for burn in found.burns)


def test_a_burn_alerts_where_both_windows_burn() -> None:
    """The factors are those of the workbook: 14.4, 6 and 1 for a window of 30 days."""
    strict = Objective("rollback_completion", 30.0, 0.99)
    burns = status(events(60), strict).burns
    assert [burn.factor for burn in burns] == pytest.approx([14.4, 6.0, 1.0])
    assert [(burn.long, burn.short) for burn in burns] == [(pytest.approx(100),) * 2] * 3
    assert [burn.alerts for burn in burns] == [True, True, True]
    late = status(events(20 * 60), strict).burns  # no longer in the last five minutes
    assert [burn.alerts for burn in late] == [False, True, True]
    old = status(events(DAY), strict).burns
    assert [burn.alerts for burn in old] == [False, False, False]
    assert status([*events(DAY), *events(60, value=1.0)], strict).burns[2].alerts is False, "the short window is good"


def test_a_burn_rate_is_relative_to_what_is_allowed() -> None:
    mixed = [*events(1, 2), *events(3, 4, 5, 6, 7, 8, value=1.0)]
    assert burn_rate(COMPLETION, mixed) == pytest.approx(2.5)
    assert burn_rate(COMPLETION, []) is None


def test_what_is_pending_counts_once_it_takes_too_long() -> None:
    assert status([Event(NOW, 10.0, pending=True)]).events == 0
    assert status([Event(NOW, 31.0, pending=True)]).bad == 1


def test_a_share_is_bad_below_its_bound() -> None:
    found = status(
        [Event(NOW - 2, 0.997), Event(NOW - 1, 0.998), Event(NOW, 1.0)], Objective("vector_consistency", 0.999)
    )
    assert (found.bad, found.worst, found.last) == (2, 0.997, 1.0)


# ── what can be met ──

FLEET = Fleet(
    1_000_000, 10, 10.0, 0.0, {"rollback_commit": 0.01, "consensus": 0.2, "rollback_completion": 1.21}
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "bound", "sizing", "feasible", "said"),
    [
        ("consensus", 15.0, Sizing(members=100), True, "measured × 10 is 2 s"),
        ("consensus", 15.0, Sizing(members=1_000), False, "measured × 100 is 20 s"),
        ("consensus", 5.0, Sizing(), False, "shorter lease_seconds"),
        ("rollback_commit", 0.05, Sizing(10**9, 10**6), True, "size does not change it"),
        ("rollback_commit", 0.005, Sizing(), False, "0.01 s"),
        ("rollback_completion", 30.0, Sizing(), True, "verification 1 s"),
        ("rollback_completion", 30.0, Sizing(largest_store=10_000_000_000), False, "verification 100 s"),
        ("rollback_completion", 30.0, Sizing(members=2_000), False, "wait 40 s"),
        ("vector_consistency", 0.9, Sizing(), None, "nothing to estimate"),
    ],
)
def test_an_estimate_rests_on_what_was_measured(
    name: str, bound: float, sizing: Sizing, feasible: bool | None, said: str
) -> None:
    found, why = estimate(Objective(name, bound), sizing, FLEET)
    assert found is feasible
    assert said in why


def test_external_systems_count_with_their_deadline() -> None:
    slow = Fleet(1, 0, 0.0, 45.0, FLEET.measured)
    assert estimate(Objective("rollback_completion", 30.0), Sizing(), slow)[0] is False


@pytest.mark.parametrize("name", ["rollback_commit", "rollback_completion", "consensus"])
def test_without_a_measurement_nothing_is_estimated(name: str) -> None:
    found, why = estimate(Objective(name, 3600.0), Sizing(), Fleet(1, 0, 0.0, 0.0, {}))
    assert found is None
    assert "kedge drill --in-place" in why


def test_a_completion_by_another_process_has_the_times_of_the_log() -> None:
    given = {"rollback_commit_seconds": None, "memory_divergence_ratio": 0.25, "vector_consistency_ratio": None}
    assert completion(given, 100.0, 107.5) == {"rollback_completion": 7.5, "memory_consistency": 0.75}
    assert completion({"rollback_completion_seconds": 1.5}, 100.0, 107.5) == {"rollback_completion": 1.5}
