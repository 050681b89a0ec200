"""Laws of what agents remember through a framework, over every adapter; mutants break them. Run by `make hosts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import kedge

pytest.importorskip("langgraph.store.base", reason="`make hosts` installs it")
pytest.importorskip("langchain_core", reason="`make hosts` installs it")

from tests.hosts.memories import MEMORIES, MUTANTS, SESSION, Make, prepared

POSTGRES_ONE_IN = 4
Law = Callable[[kedge.Kedge, Make], None]


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        prepared(opened)
        yield opened


def release(k: kedge.Kedge, name: str = "v2", *, canary: float | None = None) -> None:
    """Deploy a worse prompt of the helper: live, or as a canary."""
    k.deploy(name, {"helper/prompt": name}, canary=canary)
    if canary is None:
        k.promote(name)
        k.refresh(SESSION) if k.sessions(SESSION) else None


def canaries_are_isolated(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    release(k, canary=0.0)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("right")
    if not memory.shared:
        return
    with k.turn(session="in the canary", agent="helper", deployment="v2"):
        memory.write("wrong")
        assert memory.read() == {"right", "wrong"}
    with k.turn(session=SESSION, agent="planner") as turn:
        assert memory.read() == {"right"}
        assert turn.lineage == {"v1"}


def a_rollback_takes_it_back_and_a_reinstate_returns_it(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("right")
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("wrong")
        assert memory.read() == {"right", "wrong"}
    k.rollback("v2")
    assert memory.read() == {"right"}
    k.reinstate("v2")
    assert memory.read() == {"right", "wrong"}


def what_is_found_there_stamps_what_is_written(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("wrong")
    with k.turn(session=SESSION, agent="planner") as turn:
        assert memory.read() == {"wrong"}
        assert "v2" in turn.lineage
        turn.context.put("conclusion", 1)
    k.rollback("v2")
    assert k.view(session=SESSION).context.get("conclusion") is None


def what_was_read_before_stamps_what_is_written_there(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    release(k)
    with k.turn(session=SESSION, agent="helper") as turn:
        turn.context.put("fact", "wrong")
    with k.turn(session=SESSION, agent="planner") as turn:
        memory.write("first")
        turn.context.get("fact")
        memory.write("second")
    k.rollback("v2")
    assert memory.read() == {"first"}


def what_follows_a_rollback_is_refused(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    release(k)
    with k.turn(session=SESSION, agent="helper") as turn:
        turn.context.put("fact", "wrong")
        k.rollback("v2")
        for call in (lambda: turn.context.get("fact"), lambda: memory.write("wrong"), memory.read):
            with pytest.raises(kedge.RolledBack):
                call()
    assert memory.read() == set()


def a_settle_on_the_way_does_not_stop_it(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    with k.turn(session=SESSION, agent="planner"):
        memory.write("first")
        k.settle("v1")
        k.deploy("v3", {"other/prompt": "three"})
        k.promote("v3")
        k.settle("v3")
        memory.write("second")
        assert memory.read() == {"first", "second"}


def a_delete_of_the_bad_release_is_undone(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    if memory.delete is None:
        return
    with k.turn(session=SESSION, agent="helper"):
        memory.write("right")
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.delete("right")
        assert memory.read() == set()
    k.rollback("v2")
    assert memory.read() == {"right"}


def a_good_write_over_a_bad_one_stays(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("right")
    with k.turn(session=SESSION, agent="planner"):
        memory.write("right")  # unread
    k.rollback("v2")
    assert memory.read() == {"right"}


def threads_may_share_a_turn(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    texts = [f"text {n}" for n in range(6)]
    with k.turn(session=SESSION, agent="planner") as turn, ThreadPoolExecutor(3) as pool:
        done = [pool.submit(kedge.bind(memory.write), text) for text in texts]
        turn.context.put("at the same time", 1)
        for each in done:
            each.result()
    assert memory.read() == set(texts)


def outside_turns_it_is_the_agent_s(k: kedge.Kedge, make: Make) -> None:
    memory = make(k)
    memory.write("right")
    release(k)
    memory.write("wrong")
    k.rollback("v2")
    assert memory.read() == {"right"}


LAWS: tuple[Law, ...] = (
    canaries_are_isolated,
    a_rollback_takes_it_back_and_a_reinstate_returns_it,
    what_is_found_there_stamps_what_is_written,
    what_was_read_before_stamps_what_is_written_there,
    what_follows_a_rollback_is_refused,
    a_settle_on_the_way_does_not_stop_it,
    a_delete_of_the_bad_release_is_undone,
    a_good_write_over_a_bad_one_stays,
    threads_may_share_a_turn,
    outside_turns_it_is_the_agent_s,
)
CAUGHT_BY = {
    "forgets reads": what_is_found_there_stamps_what_is_written,
    "forgets the caller": what_was_read_before_stamps_what_is_written_there,
    "forgets the caller, indexed": what_was_read_before_stamps_what_is_written_there,
    "sees everything": canaries_are_isolated,
    "forgets documents": what_is_found_there_stamps_what_is_written,
    "adds alone": what_was_read_before_stamps_what_is_written_there,
    "forgets messages": what_is_found_there_stamps_what_is_written,
    "answers are source": a_rollback_takes_it_back_and_a_reinstate_returns_it,
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("memory", MEMORIES)
def test_law(k: kedge.Kedge, memory: str, law: Law) -> None:
    law(k, MEMORIES[memory])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_notice_a_mutant(k: kedge.Kedge, mutant: str) -> None:
    with pytest.raises(AssertionError):
        CAUGHT_BY[mutant](k, MUTANTS[mutant])
