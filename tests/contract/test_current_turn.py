"""The turn that a context works in: nested, in threads and tasks; its views, and reads that pass it by."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import kedge
import kedge.aio
from kedge import Kedge, ReadView, current_turn

POSTGRES_ONE_IN = 8
ROW = [1.0, 0.0, 0.0]


@contextmanager
def _tainted(k: Kedge) -> Iterator[None]:
    """Have a bad release write one value in every store."""
    k.deploy("bad", {"writer/prompt": "bad"})
    k.promote("bad")
    with k.turn(session="s", agent="writer") as turn:
        turn.context.put("fact", "wrong")
        turn.documents("kb").put("d", "wrong", origin="derived")
        turn.vectors("kb").upsert(["v"], [ROW], ["wrong"])
        turn.memory.append("assistant", "wrong")
    yield


def test_a_with_block_has_its_turn(k: Kedge) -> None:
    assert current_turn() is None
    with k.turn(agent="outer") as outer:
        assert current_turn() is outer
        with k.turn(agent="inner") as inner:
            assert current_turn() is inner
        assert current_turn() is outer
    assert current_turn() is None


def test_turns_of_another_database_may_be_left_out(k: Kedge, new_place: Callable[[], str]) -> None:
    with kedge.open(new_place()) as other:
        begun = other.turn(agent="begun there")
        assert (current_turn(), current_turn(of=k), current_turn(of=other)) == (begun, None, begun)
        with k.turn(agent="here") as here, other.turn(agent="there") as there:
            assert (current_turn(), current_turn(of=k), current_turn(of=other)) == (there, here, there)
            assert (current_turn(ended=True, of=k), current_turn(ended=True, of=other)) == (here, there)
        begun.close()


def test_turns_may_end_in_any_order(k: Kedge) -> None:
    first = k.turn(agent="a").__enter__()
    second = k.turn(agent="b").__enter__()
    first.close()
    assert current_turn() is second
    second.close()
    assert current_turn() is None


def test_one_turn_without_a_block_is_current_and_several_are_not(k: Kedge) -> None:
    one = k.turn(agent="a")
    assert current_turn() is one
    other = k.turn(agent="b")
    assert current_turn() is None, "either may be meant"
    other.close()
    assert current_turn() is one
    one.close()
    assert current_turn() is None


def test_a_forgotten_turn_is_not_kept(k: Kedge) -> None:
    k.turn(agent="a")
    gc.collect()
    assert current_turn() is None


def test_a_turn_that_a_rollback_ended_is_not_current(k: Kedge) -> None:
    with _tainted(k), k.turn(session="s", agent="reader") as turn:
        turn.context.get("fact")
        k.rollback("bad")
        with pytest.raises(kedge.RolledBack):
            turn.context.get("fact")
        assert current_turn() is None


@pytest.mark.parametrize("end", ["rollback", "settle", "close"])
def test_the_turn_of_a_block_is_found_after_its_end_where_one_asks(k: Kedge, end: str) -> None:
    with _tainted(k):
        assert current_turn(ended=True) is None
        with k.turn(session="s", agent="reader") as turn:
            turn.context.get("fact")
            known = contextvars.copy_context()  # as a task has it that outlives the turn
            if end == "rollback":
                k.rollback("bad")
                error: type[Exception] = kedge.RolledBack
            elif end == "settle":
                k.deploy("later", {"other/prompt": "x"})
                k.promote("later")
                k.settle("bad")
                k.settle("later")
                error = kedge.SettledMeanwhile
            else:
                turn.close()
                error = kedge.TurnClosed
            with pytest.raises(error):
                turn.context.get("fact")
            k.turn(agent="forgotten").close()
            found = known.run(current_turn, ended=True)
            assert found is turn
            assert current_turn() is None
            assert current_turn(ended=True) is (None if end == "close" else turn)
        assert current_turn(ended=True) is None
    with k.turn(agent="a") as other:
        assert current_turn(ended=True) is other
    begun = k.turn(agent="a")
    assert current_turn(ended=True) is begun
    begun.close()


def test_a_thread_has_none_unless_it_is_bound(k: Kedge) -> None:
    found: list[object] = []

    def look() -> None:
        found.append(current_turn())

    with k.turn(agent="a") as turn:
        for work in (look, kedge.bind(look)):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert found == [None, turn]
        with ThreadPoolExecutor(4) as pool:
            assert {pool.submit(kedge.bind(current_turn)).result() for _ in range(8)} == {turn}
            assert pool.submit(current_turn).result() is None


def test_tasks_have_their_own(k: Kedge) -> None:
    async def serve(agent: str, both: asyncio.Barrier) -> None:
        with k.turn(agent=agent) as turn:
            await both.wait()
            assert current_turn() is turn
            assert await asyncio.create_task(_later()) is turn, "a task inherits it"
            assert await asyncio.to_thread(current_turn) is turn

    async def _later() -> object:
        return current_turn()

    async def main() -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(serve("a", both), serve("b", both))
        assert current_turn() is None

    asyncio.run(main())


def test_the_async_twin_has_its_own(place: str) -> None:
    async def main() -> None:
        async with kedge.aio.open(place) as k:
            assert kedge.aio.current_turn() is None
            async with k.turn(agent="a") as turn:
                assert kedge.aio.current_turn() is turn
                sync = current_turn()
                assert sync is not None
                assert sync.id == turn.id

                async def compute() -> str:
                    assert kedge.aio.current_turn() is turn
                    return "done"

                assert await turn.cache.get_or_compute("key", compute) == "done"
                view = await turn.view()
                assert await view.context.get("fact") is None
            assert kedge.aio.current_turn() is None
            assert current_turn(ended=True) is None, "its block is left"

    asyncio.run(main())


def test_a_turn_that_began_without_await_can_be_awaited(k: Kedge) -> None:
    async def main() -> None:
        found = kedge.aio.current_turn()
        assert found is not None
        assert kedge.aio.current_turn() is found
        await found.context.put("key", 1)
        assert await found.context.get("key") == 1

    with k.turn(agent="a"):
        assert kedge.aio.current_turn() is None, "nothing runs that could await it"
        asyncio.run(main())


READS: dict[str, Callable[[ReadView], object]] = {
    "context": lambda view: view.context.get("fact"),
    "context items": lambda view: view.context.items(),
    "documents": lambda view: view.documents("kb").get("d"),
    "vectors": lambda view: view.vectors("kb").get(["v"]),
    "search": lambda view: view.search(["kb"], ROW),
    "memory": lambda view: view.memory.history(),
    "artifacts": lambda view: view.artifacts["writer/prompt"],
}


@pytest.mark.parametrize("read", READS)
def test_what_a_turn_s_view_reads_counts_as_the_turn_s(k: Kedge, read: str) -> None:
    with _tainted(k), k.turn(session="s", agent="reader") as turn:
        view = turn.view()
        assert READS[read](view), "it sees what the turn sees"
        assert turn.lineage == {"bad"}
        turn.context.put("conclusion", "wrong too")
        assert (view.upto, view.session, view.seen) == (None, "s", turn.seen)
    k.rollback("bad")
    assert k.view(session="s").context.get("conclusion") is None


def test_a_turn_s_view_ends_with_the_turn(k: Kedge) -> None:
    with k.turn(agent="reader") as turn:
        view = turn.view()
    with pytest.raises(kedge.TurnClosed):
        view.context.get("fact")
    assert not hasattr(view.context, "put")


PASSING_BY: dict[str, Callable[[ReadView], object]] = READS | {
    "context entry": lambda view: view.context.entry("fact"),
    "context count": lambda view: view.context.count(),
    "documents entries": lambda view: view.documents("kb").entries(""),
    "documents count": lambda view: view.documents("kb").count(),
    "vectors search": lambda view: view.vectors("kb").search(ROW),
    "vectors count": lambda view: view.vectors("kb").count(),
    "vectors ids": lambda view: list(view.vectors("kb").ids()),
    "vectors batches": lambda view: list(view.vectors("kb").batches(1)),
    "memory tombstones": lambda view: view.memory.history(tombstones=True),
    "artifacts get": lambda view: view.artifacts.get("writer/prompt"),
    "artifacts items": lambda view: view.artifacts.items(""),
    "artifacts in": lambda view: "writer/prompt" in view.artifacts,
}


@pytest.mark.parametrize("read", PASSING_BY)
def test_a_read_that_passes_the_turn_by_is_warned_about_once_at_its_line(k: Kedge, read: str) -> None:
    with _tainted(k), k.turn(agent="reader"):
        view = k.view(session="s")
        with pytest.warns(kedge.UntrackedReadWarning, match=r"turn\.view\(\)") as caught:
            assert [PASSING_BY[read](view) for _ in range(2)]
        line = PASSING_BY[read].__code__.co_firstlineno
        assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_the_async_twin_warns_at_the_line_of_the_await(place: str) -> None:
    async def read(view: kedge.aio.AsyncReadView) -> None:
        await view.documents("kb").get("d")

    async def main() -> None:
        async with kedge.aio.open(place) as k:
            await k.deploy("v1", {"helper/prompt": "x"})
            await k.promote("v1")
            with pytest.warns(kedge.AttributionWarning) as caught:
                async with k.turn(agent="helpre"):
                    pass
            here = read.__code__.co_firstlineno
            assert [(one.filename, one.lineno) for one in caught] == [(__file__, here + 8)]
            async with k.turn(agent="helper"):
                view = await k.view()
                with pytest.warns(kedge.UntrackedReadWarning) as caught:
                    await read(view)
                assert [(one.filename, one.lineno) for one in caught] == [(__file__, here + 1)]

    asyncio.run(main())


def test_reads_outside_turns_are_not_warned_about(k: Kedge) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        k.view().context.get("fact")
        with k.turn(agent="reader") as turn:
            turn.view().context.get("fact")
            thread = ThreadPoolExecutor(1)
            thread.submit(k.view().context.get, "fact").result()
            thread.shutdown()
        k.turn(agent="begun").close()
        k.view().context.get("fact")


def test_a_read_of_another_database_is_not_warned_about(new_place: Callable[[], str]) -> None:
    with kedge.open(new_place()) as k, kedge.open(new_place()) as other, k.turn(agent="reader"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other.view().context.get("fact")
        with pytest.warns(kedge.UntrackedReadWarning):
            k.view().context.get("fact")


def test_the_async_twin_needs_no_name(place: str) -> None:
    async def main() -> None:
        async with kedge.aio.open(place) as k, k.turn(agent="a"):
            assert kedge.aio.current_turn() is not None

    asyncio.run(main())


# ── the open turn of a session, and child turns ──


def _write_wrong_fact(k: Kedge) -> None:
    k.deploy("bad", {"writer/prompt": "bad"})
    k.promote("bad")
    with k.turn(session="s", agent="writer") as turn:
        turn.context.put("fact", "wrong")


def test_a_session_s_only_open_turn_is_found_without_its_context(k: Kedge) -> None:
    def found_elsewhere() -> kedge.Turn | None:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(k.turn_of, "s").result()

    assert found_elsewhere() is None
    with k.turn("s", agent="a") as turn, k.turn("t", agent="b"), k.turn(agent="c"):
        assert found_elsewhere() is turn
        with k.turn(agent="d", parent=turn):
            assert found_elsewhere() is None, "either may be meant"
        assert found_elsewhere() is turn
    assert found_elsewhere() is None
    k.turn("s", agent="forgotten")
    gc.collect()
    with pytest.raises(kedge.InvalidValue, match="the session"):
        k.turn_of("")
    assert found_elsewhere() is None


def test_a_turn_of_a_session_that_has_ended_is_not_found(k: Kedge) -> None:
    with _tainted(k), k.turn("s", agent="reader") as turn:
        turn.context.get("fact")
        assert k.turn_of("s") is turn
        k.rollback("bad")
        with pytest.raises(kedge.RolledBack):
            turn.context.get("fact")
        assert k.turn_of("s") is None
        with k.turn("s", agent="other") as other:
            assert k.turn_of("s") is other


def test_a_turn_of_another_database_is_not_found(new_place: Callable[[], str]) -> None:
    with kedge.open(new_place()) as k, kedge.open(new_place()) as other, k.turn("s", agent="a"):
        assert other.turn_of("s") is None


def test_a_child_is_current_inside_its_block(k: Kedge) -> None:
    with k.turn("s", agent="a") as turn:
        with k.turn(agent="b", parent=turn) as child:
            assert current_turn() is child
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(kedge.bind(current_turn)).result() is child
        assert current_turn() is turn


def test_async_children_in_tasks(place: str) -> None:
    async def work(k: kedge.aio.AsyncKedge, caller: kedge.aio.AsyncTurn, part: int) -> None:
        assert kedge.aio.current_turn() is caller, "a task inherits it"
        async with k.turn(agent="worker", parent=caller) as worker:
            assert kedge.aio.current_turn() is worker
            assert worker.session == "s"
            async with k.turn(agent="looker", parent=worker) as looker:
                await looker.context.get("fact")
            await worker.absorb(looker)
            await worker.context.put(f"part/{part}", part)
        await caller.absorb(worker)

    async def main() -> None:
        async with kedge.aio.open(place) as k:
            _write_wrong_fact(k.sync)
            async with k.turn("s", agent="planner") as planner:
                assert await k.turn_of("s") is planner
                await asyncio.gather(*(work(k, planner, part) for part in range(6)))
                assert kedge.aio.current_turn() is planner
                assert planner.lineage == {"bad"}
                await planner.context.put("whole", 6)
            assert await k.turn_of("s") is None
            await k.rollback("bad")
            assert await (await k.view()).context.items() == {}

    asyncio.run(main())


def test_tasks_share_a_turn(place: str) -> None:
    async def main() -> None:
        async with kedge.aio.open(place) as k:
            _write_wrong_fact(k.sync)
            async with k.turn("s", agent="reader") as turn:
                await asyncio.gather(*(turn.context.put(f"made/{n}", n) for n in range(6)), turn.context.get("fact"))
                await turn.context.put("built on it", 1)
            await k.rollback("bad")
            assert "built on it" not in await (await k.view()).context.items()

    asyncio.run(main())
