"""The async façade in a forked child: threads of its own, in an event loop of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge.aio import AsyncKedge, AsyncTurn
from tests.concurrency import fork

SECONDS = 30
Work = Callable[[], Coroutine[Any, Any, None]]


def in_child_by_fork(work: Work) -> None:
    """Run a coroutine function in a child made by `os.fork`."""
    child = fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            asyncio.run(work())
            code = 0
        except BaseException:  # noqa: BLE001 - the child ends here
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_child_by_multiprocessing(work: Work) -> None:
    """Run a coroutine function in a child made by `multiprocessing`."""

    def run() -> None:
        signal.alarm(SECONDS)
        asyncio.run(work())

    process = multiprocessing.get_context("fork").Process(target=run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join()
    assert process.exitcode == 0


FORKS = [in_child_by_fork, in_child_by_multiprocessing]


@pytest.mark.both
@pytest.mark.parametrize("in_child", FORKS)
@pytest.mark.parametrize("where", ["in the loop", "after the loop"])
def test_an_open_database_works_in_a_child(place: str, in_child: Callable[[Work], None], where: str) -> None:
    def child_of(k: AsyncKedge) -> Work:
        async def work() -> None:
            async with k.turn(session="child", agent="clerk") as turn:
                await turn.context.put("child", 1)
                assert await turn.cache.get_or_compute("key", compute) == "computed"
            await k.set_level("clerk", "frozen")
            await k.close()

        async def compute() -> str:
            await asyncio.sleep(0)
            return "computed"

        return work

    async def begin() -> AsyncKedge:
        k = await kedge.aio.open(place, durability="normal")
        async with k.turn(session="parent", agent="clerk") as turn:
            await turn.context.put("parent", 1)
        if where == "in the loop":
            in_child(child_of(k))
        return k

    async def end(k: AsyncKedge) -> None:
        view = await k.view()
        assert set(await view.context.items()) == {"parent", "child"}
        assert await k.levels() == {"clerk": "frozen"}
        await k.close()

    k = asyncio.run(begin())
    if where == "after the loop":
        in_child(child_of(k))
    asyncio.run(end(k))


def test_a_turn_works_in_a_child_also_where_the_parent_waits_for_a_call_of_it(place: str) -> None:
    def child_of(turn: AsyncTurn) -> Work:
        async def work() -> None:
            await turn.context.put("child", 1)

        return work

    async def story() -> None:
        async with kedge.aio.open(place, durability="normal") as k, k.turn(session="s", agent="clerk") as turn:
            await turn.context.put("parent", 1)
            calls: Any = turn
            calls._calls._submit(partial(time.sleep, 0.2))
            in_child_by_fork(child_of(turn))
            assert set(await turn.context.items()) == {"parent", "child"}

    asyncio.run(story())


def test_a_callback_in_the_parent_s_loop_is_refused_in_the_child(place: str) -> None:
    async def callback() -> str:
        return "computed"

    async def story() -> None:
        async with kedge.aio.open(place, durability="normal"):
            module: Any = kedge.aio
            call = module._callable_in_thread(callback)

            async def work() -> None:
                with pytest.raises(kedge.TurnClosed, match="that of the parent process"):
                    call()

            in_child_by_fork(work)

    asyncio.run(story())
