"""Counterfactual with child turns: a replay through turns that call each other in threads equals the twin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge import Kedge, ReplayInput, Turn
from tests.databases import NewPlace
from tests.laws.scene import VECTOR, opened
from tests.laws.test_counterfactual import QUESTIONS, serve, turn_of

Act = Callable[[Turn, str], None]
PARTS = ("left", "right", "far")


def shown(k: Kedge) -> Any:
    """Return all that can be seen, by value; what threads said has no order among its equals."""
    rows = k.view().vectors("kb")
    return (
        k.view().context.items(),
        k.view().documents("kb").items(),
        {name: row.payload for name, row in rows.get(rows.ids()).items()},
        {s: sorted((m.role, m.content) for m in k.view(session=s).memory.history()) for s in ("s1", "s2")},
    )


class Team:
    """An agent whose helpers work in threads, each in a turn of its own; what they find is put together."""

    def __init__(self, k: Kedge) -> None:
        self.k = k
        self.order: Callable[[list[str]], list[str]] = list
        self.stop_after: int | None = None

    def act(self, turn: Turn, question: str) -> None:
        """Ask a helper in a thread for each part, in this object's order; some may be stopped by a crash."""
        turn.memory.append("assistant", "let me see")
        before = threading.Event()
        before.set()
        parts = self.order([*PARTS])
        gates = [before, *(threading.Event() for _ in parts)]
        with ThreadPoolExecutor(len(parts)) as pool:
            jobs = [
                pool.submit(self.look, turn, question, part, gates[n : n + 2], is_lost=self.stop_after in range(n + 1))
                for n, part in enumerate(parts)
            ]
            found = sorted(job.result() for job in jobs)
        turn.memory.append("assistant", f"{question}: {found}")
        turn.context.put(f"learned/{question}", found)

    def look(self, turn: Turn, question: str, part: str, gates: list[threading.Event], *, is_lost: bool) -> str:
        """Look for one part, once the one before has been found."""
        gates[0].wait(30)
        try:
            if is_lost:
                raise RuntimeError("the model is down")
            with self.k.turn(agent="helper", parent=turn) as helper:
                prompt = helper.artifacts["helper/prompt"].value
                helper.memory.append("assistant", f"{prompt}: {part} of {question}")
                helper.memory.append("assistant", f"{prompt}: as always")
                helper.context.put("seen/last", question)
                helper.vectors("kb").upsert([f"{question}/{part}"], [VECTOR], [prompt])
            turn.absorb(helper)
            return f"{part} by {prompt}"
        finally:
            gates[1].set()


@pytest.mark.both
@pytest.mark.parametrize("stop_after", [None, 0, 1, 2])
def test_a_replay_through_children_in_threads_equals_the_twin(new_place: NewPlace, stop_after: int | None) -> None:
    with opened(new_place()) as k, opened(new_place()) as twin:
        serve(k, Team(k).act, release_after=1)
        serve(twin, Team(twin).act, release_after=None)
        k.rollback("bad")
        assert shown(k) != shown(twin)
        team = Team(k)

        def replayed(turn: Turn, item: ReplayInput) -> None:
            if item.store == "memory":
                team.act(turn, item.value)

        if stop_after is not None:
            team.stop_after = stop_after
            assert len(k.replay(replayed, "bad").failed) == len(QUESTIONS) - 1
        team.stop_after, team.order = None, lambda parts: parts[::-1]  # threads come in another order
        assert k.replay(replayed, "bad").pending == 0
        assert shown(k) == shown(twin)
        assert k.replay(replayed).replayed == (), "each input once"
        assert k.fsck(full=True).findings == ()


def in_order(k: Kedge, *, headers: bool) -> Act:
    """Return an agent that calls two others, one after another, each of which says what it has heard so far."""

    def act(turn: Turn, question: str) -> None:
        for agent in ("helper", "looker", "helper"):
            callee = turn_of(turn, agent) if headers else k.turn(agent=agent, parent=turn)
            with callee:
                said = [message.content for message in callee.memory.history()]
                prompt = callee.artifacts.get("helper/prompt")
                callee.memory.append("assistant", f"{question}, {prompt and prompt.value}, after {len(said)}")
                turn.absorb(callee.headers() if headers else callee)
        turn.memory.append("assistant", f"{question} is answered")

    return act


@pytest.mark.parametrize("headers", [True, False])
def test_an_interrupted_replay_in_order_finds_what_it_said_though_it_heard_it(
    new_place: NewPlace, *, headers: bool
) -> None:
    fails = ["three"]
    with opened(new_place()) as k, opened(new_place()) as twin:
        serve(k, in_order(k, headers=headers), release_after=1)
        serve(twin, in_order(twin, headers=headers), release_after=None)
        k.rollback("bad")

        def replayed(turn: Turn, item: ReplayInput) -> None:
            in_order(k, headers=headers)(turn, item.value)
            if item.value in fails:
                fails.remove(item.value)
                raise RuntimeError("the model is down")

        assert len(k.replay(replayed, "bad").failed) == 1
        assert k.replay(replayed, "bad").pending == 0
        assert shown(k) == shown(twin)


def echo(turn: Turn, _: str) -> None:
    """Answer with the prompt."""
    turn.memory.append("assistant", turn.artifacts["helper/prompt"].value)


def test_threads_that_share_the_replaying_turn_repeat_nothing_and_lose_nothing(new_place: NewPlace) -> None:
    attempts = [["one", "two", "two"], ["two", "three", "two", "one"]]
    with opened(new_place()) as k:
        serve(k, echo, release_after=3)
        k.rollback("bad")

        def replayed(turn: Turn, _: ReplayInput) -> None:
            with ThreadPoolExecutor(1) as pool:
                for text in attempts[0]:
                    pool.submit(turn.memory.append, "assistant", text).result()
            if len(attempts) > 1:
                del attempts[0]
                raise RuntimeError("the model is down")

        assert len(k.replay(replayed, "bad").failed) == 1
        assert k.replay(replayed, "bad").pending == 0
        said = [m.content for m in k.view(session="s2").memory.history()]
        assert sorted(said[said.index("four") + 1 :]) == ["one", "three", "two", "two"]


def test_an_interrupted_replay_of_the_async_twin_repeats_nothing(new_place: NewPlace) -> None:
    place, fails = new_place(), [True]
    opened_twin: list[kedge.aio.AsyncKedge] = []

    async def look(turn: kedge.aio.AsyncTurn, text: str) -> None:
        async with opened_twin[0].turn(agent="looker", parent=turn) as looker:
            await looker.context.put(f"key/{text}", text)
            await looker.memory.append("assistant", text)
        await turn.absorb(looker)

    async def replayed(turn: kedge.aio.AsyncTurn, item: ReplayInput) -> None:
        heard = await turn.memory.history()  # with what the first attempt said
        await turn.memory.append("assistant", f"let me see {item.value}, after {len(heard)}")
        await look(turn, f"found, after {len(heard)}")
        parts = ["left", "right", "far"]
        if not fails:
            parts.reverse()
        for done in [asyncio.create_task(look(turn, part)) for part in parts[: len(parts) - len(fails)]]:
            await done
        if fails:
            fails.clear()
            raise RuntimeError("the model is down")
        await turn.memory.append("assistant", "done")

    async def main() -> None:
        async with kedge.aio.open(place) as k:
            opened_twin.append(k)
            assert len((await k.replay(replayed, "bad")).failed) == 1
            assert (await k.replay(replayed, "bad")).pending == 0

    with opened(place) as sync:
        serve(sync, echo, release_after=3)
        sync.rollback("bad")
        asyncio.run(main())
        said = [m.content for m in sync.view(session="s2").memory.history()]
        first, second, *parts, last = said[said.index("four") + 1 :]
        assert (first, second, last) == ("let me see four, after 3", "found, after 3", "done")
        assert sorted(parts) == ["far", "left", "right"]
