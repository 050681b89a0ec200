"""The async façade: same calls, awaited; cancelled awaits; the thread of each call."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge import Kedge, ReadView, Turn
from kedge.aio import AsyncKedge, AsyncTurn
from kedge.support import failpoints
from tests.contract.conftest import HandClock

POSTGRES_ONE_IN = 1000  # the façade knows nothing of what lies under it, but of how that waits and is cancelled
Story = Callable[[AsyncKedge], Coroutine[Any, Any, None]]


@pytest.fixture
def live(k: Kedge, place: str, clock: HandClock) -> Callable[[Story], None]:
    """Return a function that runs a story on the same database, opened for async."""

    async def told(story: Story) -> None:
        async with kedge.aio.open(place, durability="normal", clock=clock) as opened:
            await story(opened)

    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    return lambda story: asyncio.run(asyncio.wait_for(told(story), 60))


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_public_name_has_its_async_twin(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        missing = [name for name in public(Kedge) if not hasattr(k, name)]
        async with k.turn(session="s", agent="clerk") as turn:
            missing += [name for name in public(Turn) if not hasattr(turn, name)]
        view = await k.view()
        missing += [name for name in public(ReadView) if not hasattr(view, name)]
        assert missing == []
        with pytest.raises(AttributeError, match="no 'rolback'"):
            k.rolback  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(AttributeError, match="no 'contxt'"):
            turn.contxt  # type: ignore[attr-defined]  # noqa: B018

    live(story)


def test_a_turn_of_nobody_is_refused(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        with pytest.raises(kedge.Misuse, match="agent="):
            async with k.turn(session="s"):
                pass

    live(story)


def test_a_turn_s_stores_are_awaited(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async with k.turn(session="s", agent="support") as turn:
            assert (await turn.artifacts["support/prompt"]).value == "bad"
            assert (await turn.artifacts.get("support/prompt")) == (await turn.artifacts["support/prompt"])
            with pytest.raises(kedge.UnknownName, match="did you mean"):
                await turn.artifacts["support/promt"]
            await turn.memory.append("user", "question")
            await turn.memory.extend([("assistant", "answer")])
            assert [m.content for m in await turn.memory.history(limit=5)] == ["question", "answer"]
            seq = await turn.context.put("a", 1, expect=0)
            with pytest.raises(kedge.ExpectationFailed):
                await turn.context.put("a", 2, expect=0)
            entry = await turn.context.entry("a")
            assert entry is not None
            assert entry.seq == seq
            await turn.documents("kb").put("d", "text")
            await turn.vectors("kb").upsert(["a"], [[1.0, 0.0, 0.0]], [{"lang": "en"}])
            hits = await turn.vectors("kb").search([1.0, 0.0, 0.0], k=1, where={"lang": "en"})
            assert [hit.id for hit in hits] == ["a"]
            assert turn.vectors("kb").collection.dim == 3
            with pytest.raises(kedge.UnknownName, match="did you mean 'kb'"):
                await turn.vectors("kbb").count()
            await turn.observe("resolved", True)
            assert (turn.level, turn.lineage) == (kedge.Level.FULL, frozenset({"v2"}))
            async with k.turn(agent="search", parent=await turn.headers()) as callee:
                assert callee.session == "s"
                back = await callee.headers()
            await turn.absorb(back)
        with pytest.raises(kedge.TurnClosed):
            await turn.context.get("a")

    live(story)


def test_control_calls_and_views_are_awaited(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async with k.turn(session="s", agent="support") as turn:
            await turn.context.put("a", 1)
        await k.snapshot("friday")
        now, past = await k.view(session="s"), await k.at("friday", session="s")
        assert (await k.plan("v2")).writes_total == 2
        assert (await k.rollback("v2", reason="bad")).ok
        assert (await now.context.get("a"), await past.context.get("a")) == (None, 1)
        assert past.seen == {"v2"}
        assert (await k.diff(now, past)) is not None
        assert k.epoch == k.sync.epoch
        with pytest.raises(kedge.UnknownName, match="'v22'"):
            await k.promote("v22")

    live(story)


def test_a_database_is_opened_by_await_too(tmp_path: Path) -> None:
    exists = (tmp_path / "kedge.db").exists

    async def story() -> None:
        waiting = kedge.aio.open(tmp_path)
        with pytest.raises(kedge.InvalidValue, match="is not open"):
            waiting.sync.deployments()
        assert not exists()
        k = await waiting
        assert await k.deployments() == []
        await k.close()
        with pytest.raises(RuntimeError):
            await k.deployments()

    asyncio.run(story())


def test_two_turns_run_in_parallel_and_neither_in_the_loop_s_thread(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        both = threading.Barrier(2)

        def meet() -> int:
            both.wait(30)
            return threading.get_ident()

        async with k.turn(session="s", agent="clerk") as one, k.turn(session="t", agent="clerk") as other:
            found = await asyncio.gather(*(turn.cache.get_or_compute("key", meet) for turn in (one, other)))
        assert len({*found, threading.get_ident()}) == 3

    live(story)


def threads_of_turns() -> int:
    return sum(thread.name == "kedge-turns" for thread in threading.enumerate())


@pytest.mark.usefixtures("k")
def test_five_hundred_open_turns_take_no_more_threads_than_were_allowed(place: str) -> None:
    most = 0

    async def story() -> None:
        async with kedge.aio.open(place, durability="normal", threads=3) as opened:
            everybody = asyncio.Event()
            waiting = 0

            async def one(number: int) -> None:
                nonlocal most, waiting
                async with opened.turn(agent="support") as turn:
                    waiting += 1
                    if waiting == 500:
                        everybody.set()
                    await everybody.wait()
                    assert await turn.context.get(str(number)) is None
                    most = max(most, threads_of_turns())

            await asyncio.gather(*(one(number) for number in range(500)))

    asyncio.run(asyncio.wait_for(story(), 110))
    assert 1 <= most <= 3


@pytest.mark.usefixtures("k")
@pytest.mark.parametrize("threads", [1, 2])
def test_callbacks_that_wait_for_other_turns_never_lock_each_other_out(place: str, threads: int) -> None:
    """Each of ten turns waits in a callback that uses the turn itself, a new one, and one of the other nine."""

    async def story() -> None:
        async with kedge.aio.open(place, durability="normal", threads=threads) as opened:
            turns: list[AsyncTurn] = []
            inside = done = 0
            everybody, all_done = asyncio.Event(), asyncio.Event()

            async def one(number: int) -> None:
                nonlocal done
                async with opened.turn(agent="support") as turn:
                    turns.append(turn)

                    async def compute() -> int:
                        nonlocal inside
                        inside += 1
                        if inside == 10:
                            everybody.set()
                        await everybody.wait()
                        await turn.context.put(f"own/{number}", 1)
                        async with opened.turn(agent="support") as nested:
                            await nested.cache.get_or_compute(f"nested/{number}", nothing)
                        other = turns[(turns.index(turn) + 1) % 10]
                        return int(await other.context.count("own/"))

                    assert await turn.cache.get_or_compute(str(number), compute) >= 1
                    done += 1
                    if done == 10:
                        all_done.set()
                    await all_done.wait()

            await asyncio.gather(*(one(number) for number in range(10)))
            async with opened.turn(agent="support") as turn:
                await turn.context.get("a")
            assert threads_of_turns() <= threads + 10

    async def nothing() -> None:
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(story(), 110))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "4"])
def test_a_number_of_threads_that_is_none_is_refused(tmp_path: Path, threads: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="invalid threads"):
        kedge.aio.open(tmp_path, threads=threads)


def test_a_turn_s_calls_run_in_the_order_they_were_made(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async with k.turn(session="s", agent="clerk") as turn:
            await asyncio.gather(*(turn.memory.append("user", n) for n in range(20)))
            assert [m.content for m in await turn.memory.history()] == list(range(20))

    live(story)


@pytest.mark.both
def test_many_turns_at_once(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async def one(n: int) -> None:
            async with k.turn(session=f"s{n}", agent="support") as turn:
                for m in range(5):
                    await turn.context.put(f"{n}/{m}", m)

        await asyncio.gather(*(one(n) for n in range(12)))
        assert len(await (await k.view(session="s0")).context.items()) == 60

    live(story)


def test_the_loop_runs_on_while_a_call_waits(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        release = threading.Event()
        failpoints.arm("append:begun", release.wait, nth=1)
        async with k.turn(session="s", agent="clerk") as turn:
            waiting = asyncio.create_task(turn.context.put("a", 1))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            release.set()
            await waiting

    live(story)


def test_context_variables_cross(live: Callable[[Story], None]) -> None:
    request = contextvars.ContextVar("request", default="none")

    async def story(k: AsyncKedge) -> None:
        request.set("r-1")
        async with k.turn(session="s", agent="clerk") as turn:
            assert await turn.cache.get_or_compute("a", request.get) == "r-1"

    live(story)


# ── cancellation ──


@pytest.mark.both
def test_a_cancelled_write_ends_before_the_next_call_and_its_key_finds_it(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        begun, release = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            release.wait()

        async with k.turn(session="s", agent="clerk") as turn:
            failpoints.arm("append:begun", hold, nth=1)
            write = asyncio.create_task(turn.memory.append("user", "question"))
            await asyncio.to_thread(begun.wait)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            following = asyncio.create_task(turn.memory.history())
            await asyncio.sleep(0.02)
            assert not following.done(), "the write is still under way"
            release.set()
            [message] = await following
            assert message.content == "question"
            [key] = turn.unanswered
            assert await turn.memory.append("user", "question", idempotency=key) == message.seq
            assert len(await turn.memory.history()) == 1

    live(story)


def test_a_call_that_had_not_begun_is_dropped(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        release = threading.Event()
        async with k.turn(session="s", agent="clerk") as turn:
            failpoints.arm("append:begun", release.wait, nth=1)
            first = asyncio.create_task(turn.context.put("a", 1))
            second = asyncio.create_task(turn.context.put("b", 1))
            await asyncio.sleep(0.02)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            release.set()
            await first
            assert await turn.context.items() == {"a": 1}
            assert turn.unanswered == ()

    live(story)


@pytest.mark.both
def test_leaving_a_turn_waits_for_a_cancelled_call(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        begun = threading.Event()

        def hold() -> None:
            begun.set()
            threading.Event().wait(0.1)

        failpoints.arm("append:before-commit", hold, nth=1)
        async with k.turn(session="s", agent="clerk") as turn:
            write = asyncio.create_task(turn.context.put("a", 1))
            await asyncio.to_thread(begun.wait)
            write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        assert await (await k.view()).context.get("a") == 1
        assert len(turn.unanswered) == 1

    live(story)


def held_at(point: str) -> tuple[threading.Event, threading.Event]:
    """Hold the next call at a failpoint; return the events for its begin and its release."""
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(30)

    failpoints.arm(point, hold, nth=1)
    return begun, release


async def cancelled_twice(task: asyncio.Task[None]) -> None:
    """Cancel a task twice, with time between to react to it."""
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done(), "its call is still under way"


def test_a_turn_that_is_cancelled_twice_ends_after_its_call(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        begun, release = held_at("append:before-commit")

        async def work() -> None:
            async with k.turn(session="s", agent="clerk") as turn:
                await turn.context.put("a", 1)

        task = asyncio.create_task(work())
        await asyncio.to_thread(begun.wait, 30)
        await cancelled_twice(task)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await (await k.view()).context.get("a") == 1

    live(story)


def test_a_database_whose_closing_is_cancelled_twice_closes_after_its_calls(place: str) -> None:
    outcomes: list[object] = []

    async def work() -> None:
        async with kedge.aio.open(place, durability="normal") as k:
            sync = k.sync
            set_level = sync.set_level
            sync.set_level = lambda *arguments: outcomes.append(set_level(*arguments))  # type: ignore[method-assign]
            await k.set_level("support", "frozen")

    async def story() -> None:
        begun, release = held_at("control:replaced")
        task = asyncio.create_task(work())
        await asyncio.to_thread(begun.wait, 30)
        await cancelled_twice(task)
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(story(), 60))
    assert len(outcomes) == 1, "the change was done, and the database still open"
    with kedge.open(place) as k:
        assert k.levels() == {"support": "frozen"}


@pytest.mark.both
def test_a_lost_answer_is_found_by_its_key(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        def lose() -> None:
            raise kedge.OutcomeUnknown("the line broke")

        async with k.turn(session="s", agent="clerk") as turn:
            failpoints.arm("append:after-commit", lose, nth=1)
            with pytest.raises(kedge.OutcomeUnknown):
                await turn.memory.append("user", "question")
            await turn.memory.append("user", "question", idempotency=turn.unanswered[-1])
            assert len(await turn.memory.history()) == 1
            await turn.memory.append("user", "question")
            assert len(await turn.memory.history()) == 2, "keys differ from call to call"

    live(story)


# ── async callables ──


def test_a_cache_may_compute_in_the_loop_and_with_the_turn(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async with k.turn(session="s", agent="other") as turn:

            async def inner() -> str:
                await asyncio.sleep(0)
                return str((await turn.artifacts["support/prompt"]).value)

            async def outer() -> str:
                return f"{await turn.cache.get_or_compute('inner', inner)}!"

            assert await turn.cache.get_or_compute("outer", outer) == "bad!"
            assert await turn.cache.get_or_compute("outer", outer) == "bad!"
            assert turn.lineage == {"v2"}

            async def broken() -> None:
                raise ValueError("no answer")

            with pytest.raises(ValueError, match="no answer"):
                await turn.cache.get_or_compute("broken", broken)

    live(story)


def test_a_replay_s_handler_may_be_async(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        async with k.turn(session="s", agent="support") as turn:
            await turn.memory.append("user", "question")
            await turn.memory.append("assistant", "bad")
        await k.rollback("v2")

        async def handler(turn: AsyncTurn, item: kedge.ReplayInput) -> None:
            prompt = (await turn.artifacts["support/prompt"]).value
            await turn.memory.append("assistant", f"{prompt} to {item.value}")

        report = await k.replay(handler)
        assert [item.value for item in report.replayed] == ["question"], report
        history = await (await k.view(session="s")).memory.history()
        assert [m.content for m in history] == ["question", "hello to question"]

    live(story)


def test_a_change_callback_may_be_async(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        told: asyncio.Queue[int] = asyncio.Queue()

        async def changed(epoch: int) -> None:
            assert k.epoch >= epoch
            await told.put(epoch)

        remove = await k.on_change(changed)
        await k.rollback("v2")
        assert await told.get() == k.epoch
        remove()

    live(story)


def test_no_thread_is_left_behind(live: Callable[[Story], None]) -> None:
    async def story(k: AsyncKedge) -> None:
        for n in range(5):
            async with k.turn(session=f"s{n}", agent="clerk") as turn:
                await turn.context.get("a")
        with pytest.raises(kedge.InvalidValue):
            async with k.turn(session="s", agent="a", person="b"):
                pass

    before = threading.enumerate()  # the pool of the database that the test has open is among them
    live(story)
    for thread in threading.enumerate():
        if thread.name.startswith("kedge") and thread not in before:
            thread.join(timeout=10)
            assert not thread.is_alive(), thread.name
