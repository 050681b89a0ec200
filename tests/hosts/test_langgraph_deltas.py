"""Channels that the host stores as changes only (`DeltaChannel`): what they are rebuilt from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, TypedDict

import pytest

import kedge

pytest.importorskip("langgraph.channels.delta", reason="LangGraph is not installed, or is older than its DeltaChannel")

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph

from kedge.integrations.langgraph import KedgeSaver

EVERYDAY = ("rebuilt_from[sqlite-False]",)
CONFIG: Any = {"configurable": {"thread_id": "t"}}
PLANNED = 3  # values that are there when the planner works


def joined(state: list[Any], writes: list[Any]) -> list[Any]:
    return [*state, *chain.from_iterable(writes)]


class State(TypedDict):
    said: Annotated[list[str], DeltaChannel(joined)]


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        yield opened


def graph(saver: KedgeSaver, node: Any) -> Any:
    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile(checkpointer=saver)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_node_has_read_the_newest_checkpoint_not_only_those_that_its_value_is_rebuilt_from(
    k: kedge.Kedge, *, is_async: bool
) -> None:
    def node(state: State) -> Any:
        number = len(state["said"])
        with kedge.agent("planner" if number == PLANNED else "graph"):
            turn = kedge.current_turn()
            assert turn is not None
            turn.context.put(f"found-{number}", "")
        return {"said": ["answer"]}

    built = graph(KedgeSaver(k, agent="graph"), node)
    for number in range(3):
        asked = {"said": [str(number)]}
        asyncio.run(built.ainvoke(asked, CONFIG)) if is_async else built.invoke(asked, CONFIG)
        if number == 0:
            k.deploy("v1", {"planner/prompt": "bad"}, canary=1.0)
            k.refresh("t")
    assert [*k.view(session="t").context.items()] == ["found-1", "found-3", "found-5"]
    k.rollback("v1")
    assert [*k.view(session="t").context.items()] == ["found-1"]


def test_a_rollback_takes_back_the_changes_of_the_bad_version_alone(k: kedge.Kedge) -> None:
    built = graph(KedgeSaver(k, agent="graph"), lambda _: {"said": ["answer"]})
    built.invoke({"said": ["one"]}, CONFIG)
    k.deploy("v1", {"graph/prompt": "bad"}, canary=1.0)
    k.refresh("t")
    built.invoke({"said": ["two"]}, CONFIG)
    assert built.get_state(CONFIG).values["said"] == ["one", "answer", "two", "answer"]
    k.rollback("v1")
    assert built.get_state(CONFIG).values["said"] == ["one", "answer"]


def test_a_value_that_was_saved_whole_is_there_at_the_checkpoints_after_it(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langgraph.pregel._checkpoint.DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT", 4)
    saver = KedgeSaver(k, agent="graph")
    built = graph(saver, lambda _: {})
    for number in range(3):
        built.invoke({"said": [str(number)]}, CONFIG)
    whole = ["said" in each.checkpoint["channel_values"] for each in saver.list(CONFIG)]
    assert whole[:2] == [True, True], "saved with the last but one, and unchanged since"
    assert built.get_state(CONFIG).values["said"] == ["0", "1", "2"]
