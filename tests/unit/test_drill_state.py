"""Verdicts of drills in place: the newest counts, for a week."""

from __future__ import annotations

import pytest

from kedge.model.drills import FAILED, PASSED, judge
from kedge.ports.control import Entry

NOW = 1_000_000.0


def step(kind: str, age: float) -> Entry:
    return Entry(1, 1, NOW - age, "op", kind, None, "x", "", {}, is_step=True)


@pytest.mark.parametrize(
    ("steps", "ok"),
    [
        ([], False),
        ([step(PASSED, 100)], True),
        ([step(PASSED, 8 * 86_400)], False),
        ([step(PASSED, 200), step(FAILED, 100)], False),
        ([step(FAILED, 200), step(PASSED, 100)], True),
        ([step(FAILED, 100)], False),
    ],
)
def test_the_newest_drill_of_a_week_counts(steps: list[Entry], ok: bool) -> None:
    assert judge(steps, NOW).ok is ok


def test_ages_are_in_the_units_of_people() -> None:
    assert judge([step(PASSED, 100)], NOW).why == "a drill in place passed 1 min ago"
    assert judge([], NOW).why == "no drill in place within 7 days"
    assert judge([], NOW, 5400).why == "no drill in place within 1 h 30 min"
