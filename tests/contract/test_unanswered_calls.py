"""Calls between agents that led to nothing are counted by caller and callee."""

from __future__ import annotations

from typing import Any

import pytest

from kedge import Kedge
from kedge.model.calls import Edge, unanswered
from kedge.model.provenance import TurnRecord


def counted(k: Kedge) -> list[tuple[str, str | None, str, int]]:
    return [(t.metric, t.agent, t.value, t.count) for t in k.status().unanswered_calls]


@pytest.mark.both
def test_calls_that_led_to_nothing_are_counted(k: Kedge, clock: Any) -> None:
    with k.turn(agent="planner") as planner:
        with k.turn(agent="coder", parent=planner.headers("coder")) as coder:  # answered and absorbed
            coder.context.put("code", 1)
            planner.absorb(coder.headers())
        for _ in range(2):  # answered, and dropped
            with k.turn(agent="tester", parent=planner.headers("tester")) as tester:
                tester.context.put("tested", 1)
                tester.headers()
        planner.headers("mailer")  # never received
    assert counted(k) == [], "they may be under way"
    clock.time += 301
    assert counted(k) == [
        ("call:unabsorbed", "planner", "to tester", 2),
        ("call:unreceived", "planner", "to mailer", 1),
    ]
    assert k.verdicts() == list(k.status().unanswered_calls)


def test_a_callee_that_writes_nothing_and_is_absorbed_is_answered() -> None:
    turns = [TurnRecord(1, "p", "planner", None, None, None), TurnRecord(2, "c", "coder", None, "p", None)]
    edges = [Edge(1.0, "call", "p", "coder"), Edge(2.0, "call", "c", ""), Edge(3.0, "absorb", "p", "c")]
    assert unanswered(edges, turns, 10.0) == []
    lost = unanswered(edges[:2], turns, 10.0)
    assert [(t.metric, t.agent, t.value) for t in lost] == [("call:unabsorbed", "planner", "to coder")]


def test_a_child_of_the_same_process_receives_its_call_and_no_other() -> None:
    turns = [TurnRecord(1, "p", "planner", None, None, None), TurnRecord(2, "c", "coder", None, "p", None)]
    edges = [Edge(1.0, "call", "p", "coder"), *[Edge(2.0, "child", "p", "c")] * 2]  # two threads of it committed first
    lost = unanswered(edges, turns, 10.0)
    assert [(t.metric, t.value) for t in lost] == [("call:unabsorbed", "to coder"), ("call:unreceived", "to coder")]
    assert unanswered([*edges[1:], Edge(3.0, "absorb", "p", "c")], turns, 10.0) == []


def test_headers_that_were_lost_are_counted_at_whom_they_were_for() -> None:
    """Whatever the order in which they were sent."""
    turns = [
        TurnRecord(1, "p", "planner", None, None, None),
        TurnRecord(2, "c", "coder", None, "p", None),
        TurnRecord(3, "t", "tester", None, "p", None),
    ]
    for audiences in (("mailer", "coder", ""), ("", "mailer", "coder"), ("coder", "", "mailer")):
        edges = [Edge(float(n), "call", "p", audience) for n, audience in enumerate(audiences)]
        answers = [Edge(5.0, "absorb", "p", "c"), Edge(6.0, "absorb", "p", "t")]
        lost = unanswered(edges + answers, turns, 10.0)
        assert [(t.metric, t.agent, t.value, t.count) for t in lost] == [("call:unreceived", "planner", "to mailer", 1)]
