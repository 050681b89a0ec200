"""The LangGraph checkpointer passes LangGraph's own conformance suite, and what only a checkpointer can show."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

import kedge
import kedge.aio

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langgraph.checkpoint.conformance", reason="`make hosts` installs it")

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from kedge.integrations.langgraph import KedgeSaver, handler
from kedge.integrations.langgraph.saver_turns import Loop
from tests.hosts.langgraph_team import LangGraphTeam

EVERYDAY = ("suite[canary-", "mutant", "await_the_turn_of_its_task")
CAPABILITIES = {
    "put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5, "delete_for_runs": 7,
    "copy_thread": 8, "prune": 8,
}  # fmt: skip


@pytest.fixture(params=["bare", "live", "canary", "half a canary"])
def released(place: str, request: pytest.FixtureRequest) -> Any:
    """Open a database: without deployments, under a live one, with a canary for every session, and for half of them."""
    with kedge.open(place, durability="normal") as opened:
        if request.param != "bare":
            opened.deploy("v1", {"graph/prompt": "one"})
            opened.promote("v1")
        if "canary" in request.param:
            opened.deploy("v2", {"graph/prompt": "two"}, canary=0.5 if "half" in request.param else 1.0)
        yield opened


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        yield opened


def conformance(k: kedge.Kedge, kind: type[KedgeSaver] = KedgeSaver) -> Any:
    @checkpointer_test(name="KedgeSaver")  # type: ignore[untyped-decorator]
    async def saver() -> AsyncIterator[KedgeSaver]:
        yield kind(k, agent="graph")

    return asyncio.run(validate(saver))


def test_it_passes_the_conformance_suite(released: kedge.Kedge) -> None:
    report = conformance(released)
    assert {name: result.failures for name, result in report.results.items() if result.passed is False} == {}
    assert {name: result.tests_passed for name, result in report.results.items()} == CAPABILITIES
    assert released.fsck(full=True).findings == ()


# ── a graph of a list and settings ──


class State(TypedDict):
    items: Annotated[list[Any], operator.add]
    topic: str


def graph(saver: Any, *nodes: Any) -> Any:
    built = StateGraph(State)
    for number, node in enumerate(nodes):
        built.add_node(f"n{number}", node)
        built.add_edge(START if number == 0 else f"n{number - 1}", f"n{number}")
    return built.compile(checkpointer=saver)


def add(*items: Any) -> Any:
    return lambda _: {"items": list(items)}


def config(thread: str, **named: Any) -> Any:
    return {"configurable": {"thread_id": thread, **named}}


def saved(saver: KedgeSaver, thread: str, value: object, parent: Any = None) -> Any:
    checkpoint = empty_checkpoint() | {"channel_values": {"said": value}, "channel_versions": {"said": str(value)}}
    place = parent or {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    return saver.put(place, checkpoint, {"source": "loop", "step": 1}, {"said": str(value)})


def values(saver: KedgeSaver, thread: str) -> list[object]:
    found = saver.list({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
    return [each.checkpoint["channel_values"]["said"] for each in found]


def test_a_rollback_leaves_a_thread_as_if_the_version_had_not_been(k: kedge.Kedge) -> None:
    saver = KedgeSaver(k, agent="graph")
    k.deploy("v1", {"graph/prompt": "one"})
    k.promote("v1")
    first = saved(saver, "thread", "by v1")
    k.deploy("v2", {"graph/prompt": "two"}, canary=1.0)
    k.refresh("thread")
    last = saved(saver, "thread", "by v2", first)
    saver.put_writes(last, [("said", "more")], "task-1")
    assert values(saver, "thread") == ["by v2", "by v1"]
    k.rollback("v2")
    assert values(saver, "thread") == ["by v1"]
    assert saver.get_tuple(last) is None
    with pytest.raises(kedge.RolledBack, match="the parent of a new one, is not visible"):
        saved(saver, "thread", "after it", last)
    k.reinstate("v2")
    assert values(saver, "thread") == ["by v2", "by v1"]
    assert saver.get_tuple(last).pending_writes == [("task-1", "said", "more")]


@pytest.mark.parametrize("thread", ["", "a\x00b/../c%", "x" * 2_000, "\udcff", 7])
def test_threads_and_namespaces_of_any_name(k: kedge.Kedge, thread: Any) -> None:
    saver = KedgeSaver(k, agent="graph")
    ns = str(thread)[:200].encode(errors="ignore").decode()  # LangGraph's own serializer holds no surrogates
    place = {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}
    saved(saver, thread, "named", place)
    saved(saver, "other", "another")
    assert saver.get_tuple(place).checkpoint["channel_values"] == {"said": "named"}
    assert {found.config["configurable"]["thread_id"] for found in saver.list(None)} == {str(thread), "other"}
    saver.delete_thread(thread)
    assert saver.get_tuple(place) is None


def test_a_growing_list_is_stored_once_an_element_and_read_as_it_was(k: kedge.Kedge) -> None:
    saver, text = KedgeSaver(k, agent="graph"), "x" * 2_000
    built = graph(saver, add({"n": text}), add(), add(text, [text]))
    for _ in range(20):
        built.invoke({"items": [text], "topic": "t"}, config("t"))
    history = [found.values.get("items", []) for found in built.get_state_history(config("t"))]
    assert history[0] == [text, {"n": text}, text, [text]] * 20
    assert all(history[0][: len(each)] == each for each in history)
    stored = sum(len(each) for each in rows(k, "t").values())
    assert stored < 200_000  # a copy of the list a step would be 80 × 80 kB


def test_a_list_that_was_changed_in_place_is_stored_anew(k: kedge.Kedge) -> None:
    def change(state: State) -> dict[str, Any]:
        state["items"][0]["changed"] = "x" * 500
        return {"items": ["more"]}

    built = graph(KedgeSaver(k, agent="graph"), change, change)
    told = built.invoke({"items": [{"text": "y" * 500}], "topic": "t"}, config("t"), durability="sync")
    assert told["items"][0] == {"text": "y" * 500, "changed": "x" * 500}
    assert built.get_state(config("t")).values == told
    again = built.invoke({"items": [1.0, True, None], "topic": "u"}, config("t"))
    assert built.get_state(config("t")).values == again
    assert [type(item) for item in built.get_state(config("t")).values["items"][3:6]] == [float, bool, type(None)]


def rows(k: kedge.Kedge, session: str) -> dict[str, bytes]:
    found = k.view(session=session).store("langgraph").space(session).items()
    return {name: packed for name, packed in found.items() if isinstance(packed, bytes)}


def test_messages_of_tens_of_megabytes(k: kedge.Kedge) -> None:
    built = StateGraph(MessagesState)
    built.add_node("echo", lambda state: {"messages": [AIMessage(state["messages"][-1].content)]})
    built.add_edge(START, "echo")
    compiled, text = built.compile(checkpointer=KedgeSaver(k, agent="graph")), "ü" * 12_000_000
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    compiled.invoke({"messages": [HumanMessage(text)]}, config("t"), durability="exit")
    assert [m.content for m in compiled.get_state(config("t")).values["messages"]] == [text, text]
    said = k.view(session="t").memory.history()[0].content
    assert said == f"{text[:1_000_000]}…"
    k.rollback("v1")
    assert k.replay(handler(compiled)).failed == ()
    assert [m.content for m in compiled.get_state(config("t")).values["messages"]] == [text, text]


def test_a_node_may_await_the_turn_of_its_task_and_turns_that_it_opens(tmp_path: Any) -> None:
    async def scenario() -> None:
        async with kedge.aio.open(tmp_path, durability="normal") as k:
            await k.deploy("v1", {"planner/prompt": "p1", "critic/prompt": "c1"})
            await k.promote("v1")

            async def read(_: State) -> dict[str, Any]:
                turn = kedge.aio.current_turn()
                assert turn is not None
                return {"items": [(await turn.artifacts["planner/prompt"]).value]}

            async def open_turn(_: State) -> dict[str, Any]:
                async with k.turn(agent="critic") as turn:
                    return {"items": [(await turn.artifacts["critic/prompt"]).value]}

            both = [graph(KedgeSaver(k, agent="graph", store=node.__name__), node) for node in (read, open_turn)]
            for number, each in enumerate(both):
                found = await each.ainvoke({"items": [], "topic": "t"}, config(f"t{number}"))
                assert found["items"] in (["p1"], ["c1"])
            await k.rollback("v1")
            states = [await each.aget_state(config(f"t{number}")) for number, each in enumerate(both)]
            assert [state.values["items"] for state in states] == [[], []]

    asyncio.run(scenario())


def test_a_graph_that_saves_elsewhere_works_in_no_turn_of_an_earlier_one(k: kedge.Kedge) -> None:
    seen: list[kedge.Turn | None] = []

    def look(_state: Any) -> dict[str, Any]:
        seen.append(kedge.current_turn())
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("look", look)
    builder.add_edge(START, "look")
    config: Any = {"configurable": {"thread_id": "t-1"}}
    for saver in (KedgeSaver(k, agent="desk"), InMemorySaver()):
        builder.compile(checkpointer=saver).invoke({"messages": [HumanMessage("hello")]}, config)
    own, other = seen
    assert own is not None
    assert (own.agent, other) == ("desk", None)


def test_what_survives_does_not_depend_on_timing(k: kedge.Kedge) -> None:
    """Of parallel tasks, those that read nothing of the bad version survive, in each run."""
    k.deploy("v1", {"good/prompt": "g", "bad/prompt": "b1"})
    k.promote("v1")
    k.settle("v1")
    k.deploy("v2", {"bad/prompt": "b2"}, canary=1.0)
    built = StateGraph(State)
    built.add_node("spread", add("spread"))
    for name in ("good", "bad", "fine"):
        built.add_node(name, kedge.agent("bad" if name == "bad" else name)(add(name)))
        built.add_edge("spread", name)
    built.add_edge(START, "spread")
    compiled = built.compile(checkpointer=KedgeSaver(k, agent="graph"))
    for number in range(12):
        compiled.invoke({"items": ["in"], "topic": "t"}, config(f"t{number}"))
    k.rollback("v2")
    left = [compiled.get_state(config(f"t{number}")) for number in range(12)]
    assert [state.values["items"] for state in left] == [["in", "spread", "fine", "good"]] * 12
    done = [{each.name for each in state.tasks if each.result is not None} for state in left]
    assert done == [{"good", "fine"}] * 12
    resumed = compiled.invoke(None, config("t0"))  # only what was taken back is done again
    assert sorted(resumed["items"]) == ["bad", "fine", "good", "in", "spread"]


def test_a_checkpoint_that_is_saved_after_later_steps_began_has_the_lineage_of_its_own(k: kedge.Kedge) -> None:
    k.deploy("v1", {"bad/prompt": "b"}, canary=1.0)
    started, done = threading.Event(), threading.Event()

    class SlowSaver(KedgeSaver):
        def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
            if metadata["step"] != 0:
                return super().put(config, checkpoint, metadata, new_versions)
            assert started.wait(60)
            saved = super().put(config, checkpoint, metadata, new_versions)
            done.set()
            return saved

    @kedge.agent("good")
    def good(_: State) -> dict[str, Any]:
        started.set()
        return {"items": ["good"]}

    def bad(_: State) -> dict[str, Any]:
        assert done.wait(60)
        with kedge.agent("bad"):
            return {"items": ["bad"]}

    built = StateGraph(State)
    for name, node in {"first": add("first"), "good": good, "bad": bad}.items():
        built.add_node(name, node)
        built.add_edge(START if name == "first" else "first", name)
    compiled = built.compile(checkpointer=SlowSaver(k, agent="graph"))
    compiled.invoke({"items": [], "topic": "t"}, config("t"), durability="async")
    k.rollback("v1")
    state = compiled.get_state(config("t"))
    assert {each.name: each.result for each in state.tasks} == {"bad": None, "good": {"items": ["good"]}}


def test_streams_that_are_read_by_turns_in_one_context_keep_apart(k: kedge.Kedge) -> None:
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    built = graph(KedgeSaver(k, agent="graph"), add(1), add(2), add(3))
    streams = [built.stream({"items": [], "topic": "t"}, config(f"t{n}"), stream_mode="values") for n in range(5)]
    for parts in zip(*streams, strict=True):
        assert len({str(part) for part in parts}) == 1
    for stream in streams:
        assert list(stream) == []
    k.rollback("v1")
    assert [built.get_state(config(f"t{n}")).values for n in range(5)] == [{}] * 5


def test_tasks_sent_to_nodes_have_turns_of_their_own(k: kedge.Kedge) -> None:
    k.deploy("v1", {"bad/prompt": "b"}, canary=1.0)

    def work(state: Any) -> dict[str, Any]:
        with kedge.agent("bad" if state["n"] == 1 else "good"):
            return {"items": [state["n"]]}

    built = StateGraph(State)
    built.add_node("spread", lambda _: {})
    built.add_node("work", work)
    built.add_edge(START, "spread")
    built.add_conditional_edges("spread", lambda _: [Send("work", {"n": n}) for n in range(3)])
    compiled = built.compile(checkpointer=KedgeSaver(k, agent="graph"))
    assert compiled.invoke({"items": [], "topic": "t"}, config("t"))["items"] == [0, 1, 2]
    k.rollback("v1")
    assert [each.result for each in compiled.get_state(config("t")).tasks] == [{"items": [0]}, None, {"items": [2]}]


def test_tasks_that_a_flow_calls_have_turns_of_their_own_and_the_flow_has_read_what_they_read(k: kedge.Kedge) -> None:
    k.deploy("v1", {"bad/prompt": "p1"})
    k.promote("v1")
    k.settle("v1")
    k.deploy("v2", {"bad/prompt": "p2"}, canary=1.0)
    done: list[str] = []

    @task  # type: ignore[untyped-decorator]
    def note(said: str) -> str:
        done.append(said)
        return f"note {said}"

    @task  # type: ignore[untyped-decorator]
    @kedge.agent("bad")
    def bad(said: str) -> str:
        turn = kedge.current_turn()
        assert turn is not None
        return f"{turn.artifacts['bad/prompt'].value} {said}"

    @entrypoint(checkpointer=KedgeSaver(k, agent="flow"))  # type: ignore[untyped-decorator]
    def flow(said: str) -> list[str]:
        found = [note(said).result()]
        found.append(bad(said).result())
        found.append(note(found[-1]).result())
        turn = kedge.current_turn()
        assert turn is not None
        turn.context.put("found", found)
        return [*found, interrupt("fine?")]

    flow.invoke("one", config("t"))
    assert done == ["one", "p2 one"]
    k.rollback("v2")
    assert k.view().context.items() == {}
    assert flow.invoke(None, config("t"))["__interrupt__"][0].value == "fine?"
    assert done == ["one", "p2 one", "p1 one"]  # of the tasks before, only what read nothing of it is still there
    assert flow.invoke(Command(resume="yes"), config("t")) == ["note one", "p1 one", "note p1 one", "yes"]


@pytest.mark.parametrize("saves", [True, False])
def test_a_node_that_goes_on_after_a_graph_inside_it_has_read_what_that_read(k: kedge.Kedge, *, saves: bool) -> None:
    k.deploy("v1", {"bad/prompt": "b"}, canary=1.0)
    inner = StateGraph(State)
    inner.add_node("bad", kedge.agent("bad")(add("bad")))
    inner.add_edge(START, "bad")
    inside = inner.compile(checkpointer=None if saves else False)

    def node(_: State) -> dict[str, Any]:
        before = kedge.current_turn()
        assert before is not None
        assert before.lineage == frozenset()
        found = inside.invoke({"items": [], "topic": "t"})
        after = kedge.current_turn()
        assert after is not None
        after.context.put("found", found["items"])
        return {}

    graph(KedgeSaver(k, agent="graph"), node).invoke({"items": [], "topic": "t"}, config("t"))
    assert k.view(session="t").context.items() == {"found": ["bad"]}
    k.rollback("v1")
    assert k.view(session="t").context.items() == {}


def test_update_state_and_time_travel(k: kedge.Kedge) -> None:
    host = graph(InMemorySaver(), add("a"), add("b"))
    built = graph(KedgeSaver(k, agent="graph"), add("a"), add("b"))
    told = []
    for each in (host, built):
        each.invoke({"items": ["in"], "topic": "t"}, config("t"))
        middle = next(found for found in each.get_state_history(config("t")) if found.next == ("n1",))
        if each is built:
            k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
            k.refresh("t")
        told.append(each.invoke(None, each.update_state(middle.config, {"items": ["by hand"]})))
        assert each.get_state(config("t")).values == told[-1]
    assert told[0] == told[1]
    k.rollback("v1")
    assert built.get_state(config("t")).values["items"] == ["in", "a", "b"]


def test_two_questions_at_once_are_answered_by_their_ids(k: kedge.Kedge) -> None:
    built = StateGraph(State)
    for name in ("left", "right"):
        built.add_node(name, kedge.agent(name)(lambda _, name=name: {"items": [interrupt(name)]}))
        built.add_edge(START, name)
    compiled = built.compile(checkpointer=KedgeSaver(k, agent="graph"))
    k.deploy("v1", {"right/prompt": "one"}, canary=1.0)
    compiled.invoke({"items": [], "topic": "t"}, config("t"))
    asked = {found.value: found.id for found in compiled.get_state(config("t")).interrupts}
    k.rollback("v1")
    assert [found.value for found in compiled.get_state(config("t")).interrupts] == ["left"]
    with pytest.raises(kedge.RolledBack, match="the question"):
        compiled.invoke(Command(resume={asked["right"]: "r"}), config("t"))
    compiled.invoke(Command(resume={asked["left"]: "l"}), config("t"))
    assert "right" in [found.value for found in compiled.get_state(config("t")).interrupts]


def test_a_database_of_the_async_facade(tmp_path: Any) -> None:
    async def run() -> list[Any]:
        async with await kedge.aio.open(tmp_path, durability="normal") as k:
            built = graph(KedgeSaver(k, agent="graph"), add(1))
            await built.ainvoke({"items": [], "topic": "t"}, config("t"))
            found = await built.aget_state(config("t"))
            return list(found.values["items"])

    assert asyncio.run(run()) == [1]


def test_a_debug_stream_shows_no_key_of_the_adapter(k: kedge.Kedge) -> None:
    built = graph(KedgeSaver(k, agent="graph"), add(1))
    shown = str(list(built.stream({"items": [], "topic": "t"}, config("t"), stream_mode="debug")))
    assert "kedge" not in shown.lower()


def test_settings_of_the_invocation_are_replayed_with_the_input(k: kedge.Kedge) -> None:
    def node(_: State, config: Any) -> dict[str, Any]:
        return {"items": [config["configurable"].get("user")]}

    node.__annotations__["config"] = __import__("langchain_core.runnables").runnables.RunnableConfig
    built = graph(KedgeSaver(k, agent="graph"), node)
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    assert built.invoke({"items": [(1, 2)], "topic": "t"}, config("t", user="ann"))["items"] == [(1, 2), "ann"]
    k.rollback("v1")
    assert k.replay(handler(built)).failed == ()
    assert built.get_state(config("t")).values["items"][1:] == ["ann"]


def test_handlers_refuse_what_is_no_thread(k: kedge.Kedge) -> None:
    with pytest.raises(kedge.InvalidValue, match="compile it with checkpointer=KedgeSaver"):
        handler(graph(None, add(1)))
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    with k.turn(session="s", agent="graph") as turn:
        turn.documents("kb").put("d", "text")
        turn.context.put("fact", 1)
    k.rollback("v1")
    report = k.replay(handler(graph(KedgeSaver(k, agent="graph"), add(1))))
    assert [why for _, why in report.failed if "not a message of a thread" not in why] == []
    assert len(report.failed) == 1


def test_an_application_that_records_inputs_itself_says_so(k: kedge.Kedge) -> None:
    built = graph(KedgeSaver(k, agent="graph", record_input=False), add(1))
    built.invoke({"items": [], "topic": "t"}, config("t"))
    assert k.view(session="t").memory.history() == []


def test_canaries_draw_by_the_unit_of_the_configuration(k: kedge.Kedge) -> None:
    saver = KedgeSaver(k, agent="graph", unit=lambda found: found["configurable"].get("user"))
    k.deploy("v1", {"graph/prompt": "one"}, canary=0.0, allow=["ann"])
    for user in ("ann", "bob"):
        graph(saver, add(1)).invoke({"items": [], "topic": "t"}, config(user[0], user=user))
    assert [k.assignment(session) for session in "ab"] == [["v1"], []]


def test_a_list_before_a_checkpoint_that_is_given_by_its_id_alone(k: kedge.Kedge) -> None:
    saver = KedgeSaver(k, agent="graph")
    first = saved(saver, "t", "one")
    found = saved(saver, "t", "three", saved(saver, "t", "two", first))
    before = {"configurable": {"checkpoint_id": found["configurable"]["checkpoint_id"]}}
    listed = saver.list(config("t"), before=before)
    assert [each.checkpoint["channel_values"]["said"] for each in listed] == ["two", "one"]


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
def test_pruning(k: kedge.Kedge, strategy: str) -> None:
    saver = KedgeSaver(k, agent="graph")
    built = graph(saver, add("x" * 900), add("y" * 900))
    told = built.invoke({"items": ["z" * 900], "topic": "t"}, config("t"))
    saver.prune(["t"], strategy=strategy)
    left = list(built.get_state_history(config("t")))
    assert [found.values for found in left] == ([told] if strategy == "keep_latest" else [])
    with pytest.raises(kedge.InvalidValue, match="invalid strategy 'all'"):
        saver.prune(["t"], strategy="all")


def test_what_a_canary_pruned_is_back_after_its_rollback(k: kedge.Kedge) -> None:
    saver = KedgeSaver(k, agent="graph")
    built = graph(saver, add("x" * 900))
    told = built.invoke({"items": [], "topic": "t"}, config("t"))
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    k.refresh("t")
    built.invoke({"items": [], "topic": "u"}, config("t"))
    saver.prune(["t"])
    k.rollback("v1")
    assert built.get_state(config("t")).values == told


def test_a_copy_goes_with_what_it_was_copied_from(k: kedge.Kedge) -> None:
    saver = KedgeSaver(k, agent="graph")
    k.deploy("v1", {"graph/prompt": "one"}, canary=1.0)
    built = graph(saver, add(1))
    told = built.invoke({"items": [], "topic": "t"}, config("a"))
    saver.copy_thread("a", "b")
    assert built.get_state(config("b")).values == told
    k.rollback("v1")
    assert built.get_state(config("b")).values == {}


def test_below_full_the_metadata_says_so(k: kedge.Kedge) -> None:
    built = graph(KedgeSaver(k, agent="graph"), add(1))
    k.set_level("graph", "frozen")
    built.invoke({"items": [], "topic": "t"}, config("t"))
    assert built.get_state(config("t")).metadata["kedge_level"] == "frozen"
    assert rows(k, "t") == {}


def test_a_task_saves_while_another_thread_saves_with_the_same_turn(k: kedge.Kedge) -> None:
    with k.turn(session="t", agent="graph") as turn:
        loop = Loop(k, ("t", ""), turn, None)
        with turn.batch():
            kept = threading.Thread(target=lambda: loop.commit(loop.last, lambda own: put_value(own, "a")))
            kept.start()
            kept.join()
            put_value(turn, "b")
    assert k.view(session="t").store("langgraph").space("t").keys() == ["a", "b"]


def put_value(turn: kedge.Turn, name: str) -> None:
    turn.store("langgraph").space("t").put(name, 1)


def test_inputs_below_supervised_are_answered_again_once_the_level_permits_it(k: kedge.Kedge) -> None:
    built = graph(KedgeSaver(k, agent="graph"), add(1))
    entry = k.ladder.tighten("frozen", "feature:graph", reason="looks wrong")
    for topic in "tu":
        built.invoke({"items": [], "topic": topic}, config("t"))
    assert k.status().replay_pending == 2
    k.ladder.loosen(entry, reason="it was not")
    assert k.replay(handler(built)).failed == ()
    assert k.status().replay_pending == 0
    assert built.get_state(config("t")).values == {"items": [1, 1], "topic": "u"}


# ── mutants: an adapter with one of these defects does not pass ──


class DropsWrites(KedgeSaver):
    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        super().put_writes(config, list(writes)[:-1], task_id, task_path)

    async def aput_writes(self, *given: Any) -> None:
        await asyncio.to_thread(self.put_writes, *given)


class HidesTheLatest(KedgeSaver):
    def get_tuple(self, config: Any) -> Any:
        found = super().get_tuple(config)
        named = config["configurable"].get("checkpoint_id")
        return found if found is None or named else super().get_tuple(found.parent_config or config)

    async def aget_tuple(self, config: Any) -> Any:
        return await asyncio.to_thread(self.get_tuple, config)


class LeaksLineage(KedgeSaver):
    """Saves in a turn that has read nothing."""

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        loop = self._loop_of(config, config["configurable"].get("checkpoint_id"))
        loop.at(checkpoint["id"]).turn = self.k.turn(session=config["configurable"]["thread_id"], agent="nobody")
        return super().put(config, checkpoint, metadata, new_versions)


@pytest.mark.parametrize("kind", [DropsWrites, HidesTheLatest])
def test_the_conformance_suite_finds_a_mutant(tmp_path: Any, kind: type[KedgeSaver]) -> None:
    with kedge.open(tmp_path, durability="normal") as k:
        assert [name for name, result in conformance(k, kind).results.items() if result.passed is False] != []


def test_lineage_checks_find_a_mutant_that_the_conformance_suite_accepts(tmp_path: Any) -> None:
    with kedge.open(tmp_path, durability="normal") as k:
        assert [name for name, result in conformance(k, LeaksLineage).results.items() if result.passed is False] == []
        k.deploy("v1", {"clerk/prompt": "c", "planner/prompt": "p1"})
        k.promote("v1")
        k.settle("v1")
        k.deploy("v2", {"planner/prompt": "p2"}, canary=1.0)
        LangGraphTeam(k, "sync", LeaksLineage).say("t", "one")
        k.rollback("v2")
        assert "p2" in str(LangGraphTeam(k, "sync").texts("t"))  # what the contract for integrations refuses
