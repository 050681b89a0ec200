"""The LangGraph checkpointer of `examples/` passes LangGraph's own conformance suite: run by `make hosts`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import kedge

pytest.importorskip("langgraph.checkpoint.conformance", reason="`make hosts` installs it")

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate

from examples.langgraph_checkpointer import KedgeSaver

CAPABILITIES = {
    "put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5, "delete_for_runs": 7,
    "copy_thread": 8, "prune": 8,
}  # fmt: skip


@pytest.fixture(params=["bare", "live", "canary", "half a canary"])
def k(place: str, request: pytest.FixtureRequest) -> Any:
    """Open a database: without deployments, under a live one, with a canary for every session, and for half of them."""
    with kedge.open(place, durability="normal") as opened:
        if request.param != "bare":
            opened.deploy("v1", {"graph/prompt": "one"})
            opened.promote("v1")
        if "canary" in request.param:
            opened.deploy("v2", {"graph/prompt": "two"}, canary=0.5 if "half" in request.param else 1.0)
        yield opened


def test_it_passes_the_conformance_suite(k: kedge.Kedge) -> None:
    @checkpointer_test(name="KedgeSaver")  # type: ignore[untyped-decorator]
    async def saver() -> AsyncIterator[KedgeSaver]:
        yield KedgeSaver(k, agent="graph")

    report = asyncio.run(validate(saver))
    assert {name: result.failures for name, result in report.results.items() if result.passed is False} == {}
    assert {name: result.tests_passed for name, result in report.results.items()} == CAPABILITIES
    assert k.fsck(full=True).findings == ()


def saved(saver: KedgeSaver, thread: str, value: object, parent: Any = None) -> Any:
    checkpoint = empty_checkpoint() | {"channel_values": {"said": value}, "channel_versions": {"said": str(value)}}
    config = parent or {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    return saver.put(config, checkpoint, {"source": "loop", "step": 1}, {"said": str(value)})


def values(saver: KedgeSaver, thread: str) -> list[object]:
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    return [found.checkpoint["channel_values"]["said"] for found in saver.list(config)]


def test_a_rollback_leaves_a_thread_as_if_the_version_had_not_been(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
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
        k.reinstate("v2")
        assert values(saver, "thread") == ["by v2", "by v1"]
        assert saver.get_tuple(last).pending_writes == [("task-1", "said", "more")]


def test_what_the_turn_had_read_decides_what_takes_its_checkpoints_back(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        saver = KedgeSaver(k, agent="graph")
        k.deploy("facts", {"clerk/prompt": "wrong"})
        k.promote("facts")
        with k.turn(agent="clerk") as turn:
            turn.context.put("fact", "wrong")
        saved(saver, "thread", "alone")
        with k.turn(session="thread", agent="graph") as turn:
            assert turn.context.get("fact") == "wrong"
            saved(saver, "thread", "from a fact")
        k.rollback("facts")
        assert values(saver, "thread") == ["alone"]


@pytest.mark.parametrize("thread", ["", "a\x00b/../c%", "x" * 2_000, "\udcff"])
def test_threads_and_namespaces_of_any_name(place: str, thread: str) -> None:
    with kedge.open(place, durability="normal") as k:
        saver = KedgeSaver(k, agent="graph")
        ns = thread[:200].encode(errors="ignore").decode()  # LangGraph's own serializer holds no surrogates
        config = {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}
        saved(saver, thread, "named", config)
        saved(saver, "other", "another")
        assert saver.get_tuple(config).checkpoint["channel_values"] == {"said": "named"}
        assert {found.config["configurable"]["thread_id"] for found in saver.list(None)} == {thread, "other"}
        saver.delete_thread(thread)
        assert saver.get_tuple(config) is None


def test_a_turn_of_another_session_is_refused(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        saver, told = KedgeSaver(k, agent="graph"), "the current turn is of session 'one', not of thread 'two'"
        with k.turn(session="one", agent="graph"), pytest.raises(ValueError, match=told):
            saved(saver, "two", "lost")
