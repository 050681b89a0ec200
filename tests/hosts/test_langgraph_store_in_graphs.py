"""`KedgeStore` inside graphs, beside `KedgeSaver`: items follow what each node has read. Run by `make hosts`."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest

import kedge

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")

from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from examples.langgraph_support_team import day
from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langgraph import KedgeSaver, KedgeStore
from kedge.testing.contracts.memories import start
from tests.hosts.memories import INDEX, FakeEmbeddings

EVERYDAY = ("the_example_ends_as_if_the_release_had_not_been[sqlite",)

MODES = ["sync", "async", "exit"]


class State(TypedDict):
    messages: Annotated[list[str], operator.add]


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        start(opened, embedder_artifact(FakeEmbeddings()))
        yield opened


def prompt() -> str:
    turn = kedge.current_turn()
    assert turn is not None
    return str(turn.artifacts["helper/prompt"].value)


@kedge.agent("helper")
def helper(state: State) -> dict[str, Any]:
    get_store().put(("notes", "helper"), str(len(state["messages"])), {"text": prompt()})
    return {"messages": [f"helper {prompt()}"]}


@kedge.agent("auditor")
def auditor(state: State) -> dict[str, Any]:
    get_store().put(("notes", "auditor"), str(len(state["messages"])), {"text": "clean"})
    return {"messages": ["auditor"]}


@kedge.agent("reader")
def reader(_: State) -> dict[str, Any]:
    found = get_store().search(("notes",), query="text", limit=50)
    get_store().put(("read",), str(len(found)), {"text": str(sorted(each.value["text"] for each in found))})
    return {"messages": ["reader"]}


@kedge.agent("reader")
async def reader_async(_: State) -> dict[str, Any]:
    found = await get_store().asearch(("notes",), query="text", limit=50)
    await get_store().aput(("read",), str(len(found)), {"text": str(sorted(each.value["text"] for each in found))})
    return {"messages": ["reader"]}


def graph_of(k: kedge.Kedge, *nodes: Any) -> Any:
    """Return a graph of nodes that run side by side."""
    built = StateGraph(State)
    for node in nodes:
        name = getattr(node, "__name__", "node")
        built.add_node(name, node)
        built.add_edge(START, name)
    return built.compile(checkpointer=KedgeSaver(k, agent="graph"), store=KedgeStore(k, agent="graph", index=INDEX))


def say(graph: Any, thread: str, mode: str = "sync") -> None:
    graph.invoke({"messages": ["hello"]}, {"configurable": {"thread_id": thread}}, durability=mode)


def texts(k: kedge.Kedge, *namespace: str) -> list[str]:
    return [found.value["text"] for found in KedgeStore(k, agent="outside").search(namespace, limit=100)]


def test_the_example_ends_as_if_the_release_had_not_been(new_place: Callable[[], str]) -> None:
    with kedge.open(new_place(), durability="normal") as k, kedge.open(new_place(), durability="normal") as twin:
        assert day(k) == day(twin, release=False)
        assert k.replay_pending() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_rollback_takes_the_items_of_the_nodes_that_it_influenced(k: kedge.Kedge, mode: str) -> None:
    graph = graph_of(k, helper, auditor)
    say(graph, "before", mode)
    k.deploy("v2", {"helper/prompt": "two"}, canary=1.0)
    say(graph, "during", mode)
    assert texts(k, "notes", "helper") == ["one"], "outside, the canary is not seen"
    k.rollback("v2")
    assert texts(k, "notes", "helper") == ["one"]
    assert texts(k, "notes", "auditor") == ["clean"]


@pytest.mark.parametrize("mode", MODES)
def test_what_survives_does_not_depend_on_which_node_is_first(k: kedge.Kedge, mode: str) -> None:
    """The clean node runs beside the one that the bad version influences: its item stays, however they interleave."""
    done = threading.Event()

    @kedge.agent("helper")
    def first(_: State) -> dict[str, Any]:
        get_store().put(("side",), "bad", {"text": prompt()})
        done.set()
        return {"messages": []}

    @kedge.agent("auditor")
    def second(state: State) -> dict[str, Any]:
        assert done.wait(30)
        get_store().put(("side",), f"clean {state['messages'][0]}", {"text": "clean"})
        return {"messages": []}

    k.deploy("v2", {"helper/prompt": "two"})
    k.promote("v2")
    graph = graph_of(k, first, second)
    for n in range(3):
        done.clear()
        graph.invoke({"messages": [str(n)]}, {"configurable": {"thread_id": f"t{n}"}}, durability=mode)
    k.rollback("v2")
    assert texts(k, "side") == ["clean"] * 3


@pytest.mark.parametrize("node", [reader, reader_async], ids=["sync", "async"])
def test_what_a_node_found_in_the_store_stamps_what_it_writes(k: kedge.Kedge, node: Any) -> None:
    k.deploy("v2", {"helper/prompt": "two"})
    k.promote("v2")
    say(graph_of(k, helper), "writer")
    graph, config = graph_of(k, node), {"configurable": {"thread_id": "reader"}}
    if node is reader:
        graph.invoke({"messages": ["hello"]}, config)
    else:
        asyncio.run(graph.ainvoke({"messages": ["hello"]}, config))
    assert texts(k, "read") == ["['two']"]
    k.rollback("v2")
    assert texts(k, "read") == []
    assert "reader" not in graph.get_state(config).values.get("messages", [])


class LateInput(KedgeSaver):
    """A saver whose input checkpoint is saved while the first task runs, as a slow database does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.started, self.saved = threading.Event(), threading.Event()

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        if metadata["source"] != "input":
            return super().put(config, checkpoint, metadata, new_versions)
        assert self.started.wait(30)
        try:
            return super().put(config, checkpoint, metadata, new_versions)
        finally:
            self.saved.set()


def test_a_checkpoint_that_is_saved_late_hides_no_task_from_the_next(k: kedge.Kedge) -> None:
    saver = LateInput(k, agent="graph")

    @kedge.agent("helper")
    def late(_: State) -> dict[str, Any]:
        assert kedge.current_turn() is not None
        saver.started.set()
        assert saver.saved.wait(30)
        return {"messages": [str(get_store().search(("notes",))[0].value["text"])]}

    k.deploy("v2", {"author/prompt": "two"})
    k.promote("v2")
    store = KedgeStore(k, agent="author")
    store.put(("notes",), "a", {"text": "wrong"})
    built = StateGraph(State)
    built.add_node("late", late)
    built.add_edge(START, "late")
    graph, config = built.compile(checkpointer=saver, store=store), {"configurable": {"thread_id": "t"}}
    assert graph.invoke({"messages": ["hello"]}, config, durability="async")["messages"] == ["hello", "wrong"]
    k.rollback("v2")
    assert graph.get_state(config).values.get("messages", []) == ["hello"]
