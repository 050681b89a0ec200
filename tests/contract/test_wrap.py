"""Wrapped functions: every call is a turn, a child of the caller's, and its lineage flows back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge import Kedge, current_turn

POSTGRES_ONE_IN = 3


def tainted(k: Kedge) -> None:
    """Have a bad release write one fact."""
    k.deploy("bad", {"writer/prompt": "bad"})
    k.promote("bad")
    with k.turn(session="s", agent="writer") as turn:
        turn.context.put("fact", "wrong")


def here() -> kedge.Turn:
    found = current_turn()
    assert found is not None
    return found


def look(key: str) -> Any:
    return here().context.get(key)


async def look_async(key: str) -> Any:
    return here().context.get(key)


def look_in_steps(key: str) -> Generator[Any, None, None]:
    yield "first"
    yield here().context.get(key)


async def look_in_async_steps(key: str) -> AsyncGenerator[Any, None]:
    yield "first"
    yield here().context.get(key)


async def _collected(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


def _look_in_async_steps(k: Kedge) -> Any:
    return asyncio.run(_collected(kedge.wrap(look_in_async_steps, k=k, agent="tool")("fact")))[-1]


CALLS = {
    "function": lambda k: kedge.wrap(look, k=k, agent="tool")("fact"),
    "decorator": lambda k: kedge.wrap(k=k, agent="tool")(look)("fact"),
    "partial": lambda k: kedge.wrap(partial(look, "fact"), k=k, agent="tool")(),
    "coroutine": lambda k: asyncio.run(kedge.wrap(look_async, k=k, agent="tool")("fact")),
    "generator": lambda k: list(kedge.wrap(look_in_steps, k=k, agent="tool")("fact"))[-1],
    "async generator": _look_in_async_steps,
}


@pytest.mark.parametrize("call", CALLS)
def test_what_a_wrapped_call_reads_stamps_what_its_caller_writes(k: Kedge, call: str) -> None:
    tainted(k)
    with k.turn(session="s", agent="planner") as turn:
        assert CALLS[call](k) == "wrong"
        assert current_turn() is turn
        assert turn.lineage == {"bad"}
        turn.context.put("conclusion", "wrong too")
    k.rollback("bad")
    assert k.view(session="s").context.get("conclusion") is None


def test_what_the_caller_had_read_stamps_what_a_wrapped_call_writes(k: Kedge) -> None:
    tainted(k)

    @kedge.wrap(k=k, agent="tool")
    def note() -> None:
        here().context.put("note", "wrong too")

    with k.turn(session="s", agent="planner") as turn:
        turn.context.get("fact")
        note()
    k.rollback("bad")
    assert k.view(session="s").context.get("note") is None


@pytest.mark.parametrize("call", CALLS)
def test_outside_turns_a_wrapped_call_has_a_turn_of_its_own(k: Kedge, call: str) -> None:
    tainted(k)
    assert CALLS[call](k) == "wrong"
    assert current_turn() is None


def test_a_wrapped_call_joins_its_caller_s_view_and_session(k: Kedge) -> None:
    k.deploy("canary", {"tool/prompt": "new"}, canary=0.0)

    def ask() -> tuple[str | None, str | None, object]:
        turn = here()
        return turn.session, turn.agent, turn.artifacts.get("tool/prompt")

    wrapped = kedge.wrap(ask, k=k, agent="tool", session="other")
    with k.turn(session="s", agent="planner", deployment="canary"):
        session, agent, prompt = wrapped()
        assert (session, agent) == ("s", "tool")
        assert isinstance(prompt, kedge.Artifact)
    assert wrapped() == ("other", "tool", None)


def test_a_turn_of_another_database_is_no_caller(k: Kedge, new_place: Callable[[], str]) -> None:
    with kedge.open(new_place()) as other, other.turn(session="theirs", agent="planner"):
        assert kedge.wrap(lambda: here().session, k=k, agent="tool", session="ours")() == "ours"


def test_the_session_may_come_from_the_arguments(k: Kedge) -> None:
    def answer(user: str, *, question: str) -> str | None:
        here().memory.append("user", question, idempotency=user)
        return here().session

    wrapped = kedge.wrap(answer, k=k, agent="support", session=lambda user, **_: f"chat-{user}")
    assert wrapped("ann", question="Where is it?") == "chat-ann"
    assert [message.content for message in k.view(session="chat-ann").memory.history()] == ["Where is it?"]
    assert wrapped.__name__ == "answer"


def test_a_wrapped_agent_is_influenced_by_its_own_release(k: Kedge) -> None:
    k.deploy("v2", {"clerk/prompt": "bad"})
    k.promote("v2")

    @kedge.wrap(k=k, agent="clerk")
    def note() -> None:
        here().context.put("note", "wrong")

    with k.turn(session="s", agent="planner") as turn:
        note()
        assert turn.lineage == {"v2"}, "the planner has its answer"
    k.rollback("v2")
    assert k.view().context.get("note") is None


def test_a_generator_s_turn_is_current_only_while_it_runs(k: Kedge) -> None:
    tainted(k)
    with k.turn(session="s", agent="planner") as turn:
        steps = kedge.wrap(look_in_steps, k=k, agent="tool")("fact")
        assert next(steps) == "first"
        assert current_turn() is turn
        assert turn.lineage == set(), "nothing was read yet"
        assert next(steps) == "wrong"
        assert turn.lineage == {"bad"}, "before the generator's end"
        steps.close()
        assert current_turn() is turn
    steps = kedge.wrap(look_in_steps, k=k, agent="tool")("fact")
    next(steps)
    assert current_turn() is None
    steps.close()


def test_a_generator_gets_what_is_sent_and_thrown_and_returns(k: Kedge) -> None:
    def talk() -> Any:
        heard = yield "hello"
        try:
            yield heard
        except ValueError as error:
            yield f"caught {error}"
        return here().agent

    def whole() -> Any:
        return (yield from kedge.wrap(talk, k=k, agent="tool")())

    steps = whole()
    assert next(steps) == "hello"
    assert steps.send("news") == "news"
    assert steps.throw(ValueError("bad")) == "caught bad"
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "tool"


def test_an_async_generator_gets_what_is_sent_and_thrown(k: Kedge) -> None:
    closed: list[str | None] = []

    async def talk() -> Any:
        try:
            heard = yield "hello"
            try:
                yield heard
            except ValueError as error:
                yield f"caught {error}"
        finally:
            closed.append(here().agent)

    async def main() -> None:
        steps = kedge.wrap(talk, k=k, agent="tool")()
        assert await anext(steps) == "hello"
        assert current_turn() is None
        assert await steps.asend("news") == "news"
        assert await steps.athrow(ValueError("bad")) == "caught bad"
        await steps.aclose()
        assert closed == ["tool"]

    asyncio.run(main())


@pytest.mark.parametrize("call", CALLS)
def test_a_call_after_a_rollback_of_its_caller_raises(k: Kedge, call: str) -> None:
    tainted(k)
    with k.turn(session="s", agent="planner") as turn:
        turn.context.get("fact")
        k.rollback("bad")
        with pytest.raises(kedge.RolledBack):
            turn.context.get("fact")
        with pytest.raises(kedge.RolledBack):
            CALLS[call](k)


def test_an_exception_passes_and_what_was_read_before_it_counts(k: Kedge) -> None:
    tainted(k)

    def fail() -> None:
        raise LookupError(look("fact"))

    with k.turn(session="s", agent="planner") as turn:
        with pytest.raises(LookupError, match="wrong"):
            kedge.wrap(fail, k=k, agent="tool")()
        assert turn.lineage == {"bad"}
        assert current_turn() is turn


def test_the_async_twin(place: str) -> None:
    async def ask(key: str) -> Any:
        turn = kedge.aio.current_turn()
        assert turn is not None
        return await turn.context.get(key)

    async def main() -> None:
        async with kedge.aio.open(place) as k:
            tainted(k.sync)
            wrapped = kedge.wrap(ask, k=k, agent="tool")
            assert await wrapped("fact") == "wrong"
            async with k.turn(session="s", agent="planner") as turn:
                assert await asyncio.gather(*(wrapped("fact") for _ in range(4))) == ["wrong"] * 4
                assert turn.lineage == {"bad"}
                assert kedge.aio.current_turn() is turn
            assert kedge.wrap(look, k=k, agent="tool")("fact") == "wrong"

    asyncio.run(main())


@dataclass(frozen=True)
class Tool:
    """A tool in the shape that LangChain's have."""

    func: Any
    coroutine: Any = None
    name: str = "tool"

    def model_copy(self, *, update: dict[str, Any]) -> Tool:
        return replace(self, **update)


def test_a_tool_with_functions_is_copied(k: Kedge) -> None:
    tainted(k)
    tool = Tool(look, look_async, "lookup")
    wrapped = kedge.wrap(tool, k=k, agent="tool")
    assert (wrapped.name, tool.func) == ("lookup", look)
    with k.turn(session="s", agent="planner") as turn:
        assert wrapped.func("fact") == "wrong"
        assert turn.lineage == {"bad"}
    with k.turn(session="s", agent="planner") as turn:
        assert asyncio.run(wrapped.coroutine("fact")) == "wrong"
        assert turn.lineage == {"bad"}


@pytest.mark.parametrize("tool", [3, Tool, object()], ids=["number", "class", "object"])
def test_what_cannot_be_wrapped_is_refused(k: Kedge, tool: object) -> None:
    with pytest.raises(kedge.InvalidValue, match="pass a function"):
        kedge.wrap(tool, k=k, agent="tool")
