"""What a map takes from a database: who wrote and read which space, who called whom, what a deployment reached."""

from __future__ import annotations

import pytest

from kedge import Kedge
from kedge.discovery.map import context_map, journal
from kedge.discovery.map.journal import Called, Flow, Space, read_journal


@pytest.fixture
def team(k: Kedge) -> Kedge:
    """Let a person ask, a planner look up a document and call a writer, in v2; nothing in v1."""
    k.deploy("v1", {"other/prompt": "one"})
    k.promote("v1")
    k.deploy("v2", {"planner/prompt": "two"})
    with k.turn("s", agent="loader") as turn:
        turn.documents("kb").put("d", "text")
    with k.turn("t", person="ada", deployment="v2") as turn:
        turn.memory.append("user", "hi")
    with k.turn("t", agent="planner", deployment="v2") as turn:
        assert turn.artifacts["planner/prompt"].value == "two"
        assert turn.documents("kb").get("d") is not None
        turn.context.put("plan", 1)
        with k.turn(agent="writer", parent=turn) as inner:
            assert inner.context.get("plan") is not None
            inner.memory.append("assistant", "ok")
    return k


@pytest.mark.both
def test_flows_calls_and_deployments(team: Kedge) -> None:
    found = read_journal(team._kernel)
    flows = {(flow.agent, flow.access, flow.store): flow for flow in found.flows}
    assert flows["people", "write", "kedge:memory"] == Flow("people", "kedge:memory", "write", 1, is_person=True)
    assert ("planner", "read", "kedge:documents/kb") in flows
    assert ("planner", "write", "kedge:context") in flows
    assert ("writer", "read", "kedge:context") in flows
    assert flows["loader", "write", "kedge:documents/kb"].records == 1
    assert not any(agent == "ada" for agent, _, _ in flows)
    assert not any(store == "kedge:artifacts" for _, _, store in flows), "deployments are nodes of their own"
    assert found.calls == (Called("planner", "writer", 1),)
    ran = {each.deployment: each for each in found.ran}
    assert ran["v2"].agents == ("planner", "writer")
    assert ran["v2"].reached == (Space("kedge:context", 1), Space("kedge:memory", 1))
    assert ran["v1"].reached == ()
    assert (found.turns, found.all_turns) == (4, True)


def test_the_map_joins_them(team: Kedge) -> None:
    found = context_map(k=team, deployment="v2")
    assert found.blast is not None
    assert [each.store for each in found.blast.did or ()] == ["store:kedge:context", "store:kedge:memory"]
    crossings = {(each.source, each.target, each.through) for each in found.boundaries}
    assert ("agent:planner", "agent:writer", "store:kedge:context") in crossings
    assert ("agent:loader", "agent:planner", "store:kedge:documents/kb") in crossings
    assert all(each.provenance == ("journaled",) for each in found.edges)


def test_of_many_turns_the_newest_are_examined(team: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "TURNS_EXAMINED", 2)
    found = read_journal(team._kernel)
    assert (found.turns, found.all_turns) == (2, False)
    assert {flow.agent for flow in found.flows} == {"planner", "writer"}


def test_a_store_with_many_spaces_is_one_node(k: Kedge) -> None:
    for number in range(25):
        with k.turn(f"s{number}", agent="a") as turn:
            turn.context.put("x", 1)
            turn.documents(f"collection-{number}").put("x", number)
    assert {flow.store for flow in read_journal(k._kernel).flows} == {"kedge:documents", "kedge:context"}
