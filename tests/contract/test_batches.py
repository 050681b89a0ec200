"""Batches of a turn: one commit, across stores and origins, of all the writing calls in a block."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kedge
import kedge.aio
from kedge import Kedge
from kedge.support import failpoints
from tests.concurrency import SECONDS, pause_at
from tests.contract.conftest import HandClock
from tests.databases import raw_rows

POSTGRES_ONE_IN = 3
IDS = ("v0", "v1", "v2", "v3")


def row(*numbers: float) -> Any:
    return np.array([numbers], np.float32)


def commits(k: Kedge) -> int:
    """Return how many moments the journal holds: the writes of one commit share theirs."""
    return len({at for (at,) in raw_rows(k.url, "SELECT at FROM writes")})


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


@pytest.mark.both
def test_a_batch_is_one_commit_across_stores_and_origins(k: Kedge) -> None:
    k.collection("wiki", dim=3)
    with k.turn(session="s", agent="clerk") as turn:
        before, store = commits(k), turn.store("saved").space("t")
        with turn.batch() as batch:
            answers: list[Any] = [
                turn.memory.append("user", "hello"),
                turn.memory.extend([("assistant", "hi"), ("user", "bye")]),
                turn.documents("kb").put("doc", "text"),
                turn.documents("kb").put_many({"doc2": "text", "doc3": "text"}),
                turn.context.put("case/1", {"n": 1}, fresh_for=60),
                turn.context.delete("case/2"),
                store.put("a", b"\x00", ttl=60),
                store.put_many({}),
                turn.vectors("kb").upsert(["doc"], row(1, 0, 0), [{"n": 1}]),
                turn.vectors("wiki").upsert(["doc", "x"], np.eye(3, dtype=np.float32)[:2]),
                turn.vectors("kb").delete(["never"]),
            ]
            assert batch.seqs == []
            assert turn.memory.history() == []
            assert (turn.context.get("case/1"), store.items(), turn.documents("kb").count()) == (None, {}, 0)
            assert turn.vectors("kb").count() == 0
        assert answers == [None] * len(answers)
        assert batch.seqs == list(range(batch.seqs[0], batch.seqs[0] + 13))
        assert commits(k) == before + 1
        assert [(m.role, m.content) for m in turn.memory.history()] == [
            ("user", "hello"), ("assistant", "hi"), ("user", "bye"),
        ]  # fmt: skip
        entry = turn.context.entry("case/1")
        assert entry is not None
        assert (entry.value, entry.fresh_for, entry.origin) == ({"n": 1}, 60, "derived")
        assert store.get("a") == b"\x00"
        assert [e.origin for e in turn.documents("kb").entries()] == ["source"] * 3
        assert [h.id for h in turn.vectors("kb").search([1, 0, 0])] == ["doc"]
        assert turn.vectors("wiki").ids() == ["doc", "x"]
    assert k.fsck(full=True).findings == ()


def test_an_exception_writes_nothing(k: Kedge) -> None:
    with k.turn(session="s", agent="clerk") as turn:
        before = k.seq
        with pytest.raises(ZeroDivisionError), turn.batch() as batch:
            turn.context.put("a", 1)
            turn.memory.append("user", "hello")
            turn.vectors("kb").upsert(["a"], row(1, 0, 0))
            _ = 1 / 0
        assert (k.seq, batch.seqs, turn.context.get("a"), turn.memory.history()) == (before, [], None, [])
        with turn.batch() as empty:
            assert turn.context.get("a") is None
        assert (k.seq, empty.seqs) == (before, [])
        assert turn.context.put("a", 2) == before + 1, "single calls write again"


def test_invalid_input_inside_is_refused_at_the_call(k: Kedge) -> None:
    with k.turn(session="s", agent="clerk") as turn:
        before = k.seq
        with pytest.raises(kedge.InvalidValue, match="neither JSON"), turn.batch():
            turn.context.put("a", 1)
            turn.context.put("b", {1, 2})
        with pytest.raises(kedge.InvalidValue, match="idempotency"), turn.batch():
            turn.context.put("a", 1, idempotency="key")
        assert k.seq == before


def test_one_stamp_the_union_at_the_exit(k: Kedge) -> None:
    for name in ("v2", "v3"):
        k.deploy(name, {f"{name}/fact": name})
        k.promote(name)
        with k.turn(agent=name) as turn:
            turn.context.put(name, 1)
    with k.turn(session="s", agent="clerk") as turn:
        with turn.batch():
            turn.context.put("early", 1)
            turn.memory.append("user", "mine")
            turn.context.get("v2")
            turn.documents("kb").put("derived", 1, origin="derived")
            turn.context.get("v3")
        assert {turn.context.entry("early").lineage, turn.documents("kb").entry("derived").lineage} == {  # type: ignore[union-attr]
            frozenset({"v2", "v3"})
        }
        assert turn.memory.history()[0].lineage == frozenset()
    k.rollback("v3")
    view = k.view(session="s")
    assert (view.context.get("early"), [m.content for m in view.memory.history()]) == (None, ["mine"])


def test_a_batch_ends_with_its_turn(k: Kedge) -> None:
    k.deploy("v2", {"late/prompt": "…"})
    k.promote("v2")
    with k.turn(agent="late") as turn:
        before = turn.context.get("a")
        with pytest.raises(kedge.RolledBack), turn.batch():
            turn.context.put("a", 1)
            k.rollback("v2")
        assert (before, k.view().context.get("a")) == (None, None)
        with pytest.raises(kedge.RolledBack), turn.batch():
            pass
    with k.turn(agent="clerk") as turn, pytest.raises(kedge.TurnClosed), turn.batch():
        turn.context.put("a", 1)
        turn.close()
    assert k.view().context.get("a") is None


def test_a_frozen_feature_refuses_the_whole_batch(k: Kedge) -> None:
    k.set_level("clerk", "frozen")
    with k.turn(session="s", agent="clerk") as turn:
        with turn.batch() as batch:
            turn.memory.append("user", "hello")
        assert len(batch.seqs) == 1, "a user's words are recorded on every level"
        with pytest.raises(kedge.Frozen), turn.batch():
            turn.memory.append("user", "again")
            turn.memory.append("assistant", "an answer")
        assert [m.content for m in turn.memory.history()] == ["hello"]


# ── who may write into it ──


def test_batches_do_not_nest_and_are_used_once(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn, k.turn(agent="clerk") as other:
        with turn.batch() as batch:
            with pytest.raises(kedge.BatchOpen, match="nest"), turn.batch():
                pass
            with other.batch():  # of another turn: they do not meet
                other.context.put("b", 1)
                turn.context.put("a", 1)
            other.context.put("c", 1)
        assert k.view().context.items() == {"a": 1, "b": 1, "c": 1}
        with pytest.raises(kedge.BatchOpen, match="used before"), batch:
            pass
        with turn.batch() as fresh:
            turn.context.put("d", 1)
        assert len(fresh.seqs) == 1


def test_another_thread_does_not_write_into_it(k: Kedge) -> None:
    found: list[Any] = []

    def write() -> None:
        try:
            found.append(turn.context.get("seen"))
            turn.context.put("b", 1)
        except kedge.KedgeError as error:
            found.append(type(error))

    with k.turn(agent="clerk") as turn:
        turn.context.put("seen", 7)
        with turn.batch():
            turn.context.put("a", 1)
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
        assert found == [7, kedge.BatchOpen], "reads go on"
        assert turn.context.items() == {"a": 1, "seen": 7}


# ── preconditions and repeats ──


def test_a_compare_and_set_that_fails_writes_nothing(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn, k.turn(agent="clerk") as other:
        seq = turn.context.put("a", 1)
        with turn.batch():
            turn.context.put("a", 2, expect=seq)
            turn.context.put("b", 1, expect=0)
        head = turn.context.entry("a")
        assert head is not None
        with pytest.raises(kedge.ExpectationFailed), turn.batch():
            turn.context.put("c", 1)
            turn.context.put("a", 3, expect=seq)
        for late in (True, False):
            with pytest.raises(kedge.ExpectationFailed) as failed, turn.batch():
                turn.context.put("c", 1)
                turn.context.put("a", 3, expect=head.seq)
                moved = other.context.put("a", "other") if late else None
            assert failed.value.seq > head.seq
            assert moved is None or failed.value.seq == moved
        assert (turn.context.get("a"), turn.context.get("c")) == ("other", None)


@pytest.mark.parametrize("key", [None, "call"])
@pytest.mark.parametrize("first_is_wrong", [True, False])
def test_each_message_expects_what_its_call_says(k: Kedge, key: str | None, *, first_is_wrong: bool) -> None:
    """With a key, the journal decides at the end, since the batch might repeat an earlier one."""
    with k.turn("s", agent="clerk") as turn:
        last = turn.memory.append("user", "one")
        expected = [last - 1, last] if first_is_wrong else [last, last - 1]
        with pytest.raises(kedge.ExpectationFailed), turn.batch(idempotency=key):
            for expect in expected:
                turn.memory.append("assistant", "two", expect=expect)
        with pytest.raises(kedge.ExpectationFailed), turn.batch(idempotency=key):
            turn.memory.append("assistant", "two", expect=last)
            with k.turn("s", agent="other") as other:
                later = other.memory.append("assistant", "meanwhile")
            turn.memory.append("assistant", "three", expect=later)
        assert [message.content for message in turn.memory.history()] == ["one", "meanwhile"]


def test_threads_that_run_in_the_context_of_the_block_write_into_its_batch(k: Kedge) -> None:
    """As `asyncio.to_thread` runs them."""

    def upsert(turn: kedge.Turn, number: int) -> None:
        for place in range(20):
            turn.vectors("kb").upsert([f"{number}/{place}"], row(number + 1, place + 1, 1))

    with k.turn(agent="clerk") as turn:
        with turn.batch() as batch:
            runs = [contextvars.copy_context().run for _ in range(4)]
            threads = [threading.Thread(target=run, args=(upsert, turn, n)) for n, run in enumerate(runs)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
            inside = contextvars.copy_context()
        found = turn.vectors("kb").get([f"{number}/{place}" for number in range(4) for place in range(20)])
        assert {ident: list(hit.vector) for ident, hit in found.items()} == {
            f"{number}/{place}": [number + 1, place + 1, 1] for number in range(4) for place in range(20)
        }
        with pytest.raises(kedge.BatchOpen, match="this batch has ended"):
            inside.run(batch.add, (), None, None, None, None)


def test_a_concurrent_delete_of_what_is_absent_is_no_conflict(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn, k.turn(agent="clerk") as other:
        with turn.batch() as batch:
            turn.context.put("a", 1, expect=0)
            other.context.delete("a")
        assert (len(batch.seqs), turn.context.get("a")) == (1, 1)


def test_a_repeated_batch_is_done_once(k: Kedge) -> None:
    def answer(turn: kedge.Turn, text: str = "hi", key: str = "call") -> list[int]:
        with turn.batch(idempotency=key) as batch:
            turn.memory.append("assistant", text)
            turn.context.put("a", 1, expect=0)
            turn.vectors("kb").upsert(["a"], row(1, 0, 0))
        return batch.seqs

    with k.turn(session="s", agent="clerk") as turn:
        first = answer(turn)
        assert answer(turn) == first
        with pytest.raises(kedge.IdempotencyMismatch):
            answer(turn, "something else")
        with pytest.raises(kedge.ExpectationFailed):
            answer(turn, key="another call")
    with k.turn(session="s", agent="clerk") as again:
        assert answer(again) == first
        assert [m.content for m in again.memory.history()] == ["hi"]


def test_a_replay_repeats_a_batch_once(k: Kedge) -> None:
    k.deploy("v2", {"late/prompt": "…"})
    k.promote("v2")
    with k.turn(session="s", agent="late") as turn:
        turn.memory.append("user", "hello")
        with turn.batch():
            turn.memory.append("assistant", "bad")
            turn.context.put("a", "bad")
    k.rollback("v2")

    def handler(turn: kedge.Turn, item: kedge.ReplayInput, fail: bool = False) -> None:
        with turn.batch():
            turn.memory.append("assistant", f"good {item.value}")
            turn.context.put("a", "good")
        if fail:
            raise ValueError

    assert len(k.replay(lambda turn, item: handler(turn, item, fail=True)).failed) == 1
    assert len(k.replay(handler).replayed) == 1
    view = k.view(session="s")
    assert [m.content for m in view.memory.history()] == ["hello", "good hello"]
    assert view.context.get("a") == "good"


def test_a_crash_before_the_commit_leaves_nothing(k: Kedge) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with k.turn(session="s", agent="clerk") as turn:
        before = k.seq
        for point in ("append:before-rows", "append:rows", "segment:rows"):
            failpoints.arm(point, stop)
            with pytest.raises(KeyboardInterrupt), turn.batch():
                turn.context.put("a", 1)
                turn.vectors("kb").upsert(["a"], row(1, 0, 0))
                turn.vectors("kb").upsert(["a"], row(0, 1, 0))
            failpoints.disarm()
        assert k.seq == before
        assert turn.vectors("kb").count() == 0
    assert k.fsck(full=True).findings == ()


# ── vectors ──


@pytest.mark.parametrize("seed", range(8))
def test_any_mixture_equals_its_calls_one_by_one(k: Kedge, seed: int) -> None:
    """The same calls, in a batch and one by one, give the same hits, heads and states in every view."""
    k.collection("wiki", dim=3)
    k.collection("kb1", dim=3)
    k.collection("wiki1", dim=3)
    k.deploy("v2", {"late/prompt": "…"}, canary=0.0)
    chance = random.Random(seed)
    for _ in range(12):
        inside = chance.choice([None, "v2"])
        calls = [_call(chance) for _ in range(chance.choice([1, 2, 5, 9]))]
        with k.turn(agent="late", deployment=inside) as turn:
            with turn.batch():
                for call in calls:
                    call(turn, "")
            for call in calls:
                call(turn, "1")
    for view in (k.view(), k.view(deployment="v2"), k.at(k.seq)):
        for name in ("kb", "wiki"):
            batched, single = view.vectors(name), view.vectors(f"{name}1")
            assert batched.ids() == single.ids()
            assert batched.count() == single.count()
            for query in np.eye(3, dtype=np.float32):
                hits = [[(h.id, round(h.score, 6), h.payload) for h in v.search(query, k=9)] for v in (batched, single)]
                assert hits[0] == hits[1]
        assert view.context.items("a/") == {"a" + name[1:]: v for name, v in view.context.items("1/").items()}
    assert k.fsck(full=True).findings == ()


def _call(chance: random.Random) -> Any:
    kind = chance.choice(["upsert", "upsert", "upsert", "delete", "context"])
    name, origin = chance.choice(["kb", "kb", "wiki"]), chance.choice([None, None, "source"])
    ids = chance.sample(IDS, chance.choice([1, 2, 3]))
    matrix = np.array([[chance.choice([0.2, 1.0]) for _ in range(3)] for _ in ids], np.float32)
    number = chance.randrange(100)

    def call(turn: kedge.Turn, suffix: str) -> None:
        if kind == "upsert":
            turn.vectors(name + suffix).upsert(ids, matrix, [{"n": number}] * len(ids), origin=origin)  # type: ignore[arg-type]
        elif kind == "delete":
            turn.vectors(name + suffix).delete(ids, origin=origin)  # type: ignore[arg-type]
        else:
            turn.context.put(f"{suffix or 'a'}/{number % 3}", number)

    return call


def test_a_wrong_dimension_fails_the_whole_batch(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        before = k.seq
        with pytest.raises(kedge.InvalidVector), turn.batch():
            turn.context.put("a", 1)
            turn.vectors("kb").upsert(["a"], row(1, 0))
        assert (k.seq, turn.context.get("a")) == (before, None)
    assert clock.time


# ── asynchronous ──


def test_batches_of_async_turns(place: str) -> None:
    async def work() -> None:
        async with kedge.aio.open(place, durability="normal") as k, k.turn(session="s", agent="clerk") as turn:
            store = turn.store("saved").space("t")
            await store.put("before", 1)
            async with turn.batch() as batch:
                assert repr(turn).startswith("<AsyncTurn ")
                assert repr(batch).startswith("<AsyncWriteBatch of ")
                assert await store.put("a", b"1") is None
                await asyncio.gather(turn.memory.append("user", "hi"), turn.context.put("a", 1))
                assert await store.get_many(["a", "before"]) == {"before": 1}
            assert len(batch.seqs) == 3
            assert await store.items(limit=5) == {"a": b"1", "before": 1}
            view = await k.view()
            assert await view.store("saved").space("t").keys(reverse=True) == ["before", "a"]
            seq = k.sync.seq
            with pytest.raises(ZeroDivisionError):
                async with turn.batch():
                    await turn.context.put("b", 1)
                    _ = 1 / 0
            assert k.sync.seq == seq
            await turn.context.put("c", 1)

            ready, done = asyncio.Event(), asyncio.Event()

            async def outside() -> None:
                await ready.wait()
                try:
                    with pytest.raises(kedge.BatchOpen):
                        await turn.context.put("d", 1)
                finally:
                    done.set()

            task = asyncio.create_task(outside())
            async with turn.batch(idempotency="once") as keyed:
                ready.set()
                await done.wait()
                with pytest.raises(kedge.BatchOpen):
                    async with turn.batch():
                        pass
                await turn.context.put("e", 1)
            await task
            async with turn.batch(idempotency="once") as repeated:
                await turn.context.put("e", 1)
            assert keyed.seqs == repeated.seqs
            assert await turn.context.keys() == ["a", "c", "e"]
            assert turn.unanswered == ()

    asyncio.run(work())


def test_a_cancelled_commit_leaves_its_key(place: str) -> None:
    async def work() -> None:
        async with kedge.aio.open(place, durability="normal") as k, k.turn(agent="clerk") as turn:
            entered, go_on = pause_at("append:before-rows")

            async def write() -> None:
                async with turn.batch():
                    await turn.context.put("a", 1)

            task = asyncio.create_task(write())
            await asyncio.to_thread(entered.wait, SECONDS)
            task.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            failpoints.disarm()
            (key,) = turn.unanswered
            async with turn.batch(idempotency=key) as batch:
                await turn.context.put("a", 1)
            assert len(batch.seqs) == 1
            assert await turn.context.items() == {"a": 1}
            assert batch.seqs == [k.sync.seq]

    asyncio.run(work())
