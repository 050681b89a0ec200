"""kedge verdicts: counts of message verdicts, and of calls between agents that led to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run


def test_verdicts_are_counted(run: Run, world: Path) -> None:
    assert "No verdicts yet" in run("verdicts").out
    assert run("verdicts", "--json").document == {"verdicts": []}
    with kedge.open(world) as k:
        k.deploy("speaks", {"a/speaks": {"case": 1}, "b/speaks": {"case": 1}})
        k.promote("speaks")
        for _ in range(2):
            with k.turn(agent="a") as turn:
                headers = turn.send("case", {})
            with k.turn(agent="b", parent=headers) as turn:
                turn.receive("case", {})
    row = run("verdicts").out.splitlines()[1].split()
    assert row[:8] == ["message:accept", "b", "case", "1->1", "from", "a", "2", "just"]
    (found,) = run("verdicts", "--json").document["verdicts"]
    assert set(found) == {"metric", "agent", "value", "count", "last_at"}


def test_calls_that_led_to_nothing_are_shown(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with kedge.open(world) as k, k.turn(session="s-1", agent="planner") as planner:
        planner.headers("mailer")  # never received
        with k.turn(agent="tester", parent=planner.headers("tester")) as tester:
            tester.context.put("tested", 1)
            tester.headers()  # answered, and dropped
    assert "Calls: " not in run("status").out, "they may be under way"
    monkeypatch.setattr("kedge.reports.calls.GRACE_SECONDS", -1.0)
    said = " ".join(run("status").out.split())
    assert "Calls: 1 call of planner to mailer not received, last " in said
    assert "Calls: 1 call of planner to tester answered, but the answer was not absorbed, last " in said
    rows = [line.split()[:6] for line in run("verdicts").out.splitlines()[1:]]
    assert ["call:unabsorbed", "planner", "to", "tester", "1"] in [row[:5] for row in rows]
    assert ["call:unreceived", "planner", "to", "mailer", "1"] in [row[:5] for row in rows]
