"""`kedge.agent` names the agent of turns that begin inside; integrations say which turn their host's code works in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import kedge
from kedge.turns import hosts


def test_turns_inside_are_the_agents_unless_they_name_another(k: kedge.Kedge) -> None:
    with kedge.agent("planner"):
        with k.turn() as turn:
            assert turn.agent == "planner"
            with k.turn(parent=turn) as child:
                assert child.agent == "planner"
        with k.turn(agent="other") as turn:
            assert turn.agent == "other"
        with k.turn(person="ann") as turn:
            assert turn.agent is None
        with kedge.agent("inner"):
            assert kedge.current_agent() == "inner"
        assert kedge.current_agent() == "planner"
    assert kedge.current_agent() is None
    with pytest.raises(kedge.InvalidValue, match="without agent="):
        k.turn()


def test_it_decorates_functions_of_each_kind() -> None:
    @kedge.agent("planner")
    def plain(one: int) -> tuple[int, str | None]:
        return one, kedge.current_agent()

    @kedge.agent("planner")
    def generator() -> Iterator[str | None]:
        yield kedge.current_agent()

    @kedge.agent("planner")
    async def coroutine() -> str | None:
        return kedge.current_agent()

    @kedge.agent("planner")
    async def stream() -> AsyncIterator[str | None]:
        yield kedge.current_agent()

    async def first() -> str | None:
        return await anext(aiter(stream()))

    assert plain(1) == (1, "planner")
    assert next(generator()) == "planner"
    assert asyncio.run(coroutine()) == "planner"
    assert asyncio.run(first()) == "planner"
    assert plain.__name__ == "plain"
    assert asyncio.iscoroutinefunction(coroutine)


def test_what_it_cannot_decorate_and_what_is_no_name_is_refused() -> None:
    with pytest.raises(kedge.InvalidValue, match="decorates functions, not int"):
        kedge.agent("planner")(1)  # type: ignore[type-var]
    with pytest.raises(kedge.InvalidValue, match="agent"):
        kedge.agent("")


class Source:
    def __init__(self) -> None:
        self.turn: kedge.Turn | None = None
        self.begun: list[kedge.Turn] = []

    def current(self, found: kedge.Turn | None) -> kedge.Turn | None:
        return found or self.turn

    def began(self, turn: kedge.Turn) -> None:
        self.begun.append(turn)


def test_a_source_says_which_turn_a_context_works_in(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_sources", [])
    source = Source()
    kedge.add_turn_source(source)
    turn = k.turn(agent="a")
    turn.close()
    assert source.begun == [turn]
    assert kedge.current_turn() is None
    source.turn = turn
    assert kedge.current_turn() is turn
    with k.turn(agent="b") as inner:
        assert kedge.current_turn() is inner
