"""The laws of what agents remember through a framework: items, documents, messages. Any adapter joins by a fixture.

A law is a function of an empty database and of what builds the memory on it, so that mutants can be shown to break one.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

import kedge

SESSION = "thread"
TEXTS = ("wrong", "right", "first", "second", *(f"text {n}" for n in range(6)))
_RELEASE = {"helper/prompt": "one", "planner/prompt": "one"}


class Memory(NamedTuple):
    """One way to remember texts, on the session `SESSION`, or between sessions where it is `shared`.

    Calls work in the current turn; outside turns, each is a turn of the agent "helper".
    """

    write: Callable[[str], object]
    read: Callable[[], set[str]]  # those of TEXTS that are there
    delete: Callable[[str], object] | None = None
    shared: bool = True


MemoryOn = Callable[[kedge.Kedge], Memory]
Law = Callable[[kedge.Kedge, MemoryOn], None]


def start(k: kedge.Kedge, embedder: kedge.Artifact) -> None:
    """Settle a release with the embedder, and have one of the agents live."""
    k.deploy("base", {"shared/embedder": embedder})
    k.promote("base")
    k.settle("base")
    k.deploy("v1", _RELEASE)
    k.promote("v1")


def release(k: kedge.Kedge, name: str = "v2", *, canary: float | None = None) -> None:
    """Deploy a worse prompt of the helper: live, or as a canary."""
    k.deploy(name, {"helper/prompt": name}, canary=canary)
    if canary is None:
        k.promote(name)
        k.refresh(SESSION) if k.sessions(SESSION) else None


def canaries_are_isolated(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """Nobody outside a canary finds what it wrote, nor is influenced by it."""
    memory = memory_on(k)
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


def a_rollback_takes_it_back_and_a_reinstate_returns_it(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """A rollback hides what the release wrote, and a reinstate returns it."""
    memory = memory_on(k)
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


def what_is_found_there_stamps_what_is_written(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """Who finds what the release wrote is influenced."""
    memory = memory_on(k)
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("wrong")
    with k.turn(session=SESSION, agent="planner") as turn:
        assert memory.read() == {"wrong"}
        assert "v2" in turn.lineage
        turn.context.put("conclusion", 1)
    k.rollback("v2")
    assert k.view(session=SESSION).context.get("conclusion") is None


def what_was_read_before_stamps_what_is_written_there(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """What is written carries what its turn had read before, and no more."""
    memory = memory_on(k)
    release(k)
    with k.turn(session=SESSION, agent="helper") as turn:
        turn.context.put("fact", "wrong")
    with k.turn(session=SESSION, agent="planner") as turn:
        memory.write("first")
        turn.context.get("fact")
        memory.write("second")
    k.rollback("v2")
    assert memory.read() == {"first"}


def what_follows_a_rollback_is_refused(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """A turn that a rollback ended finds and writes nothing more."""
    memory = memory_on(k)
    release(k)
    with k.turn(session=SESSION, agent="helper") as turn:
        turn.context.put("fact", "wrong")
        k.rollback("v2")
        for call in (lambda: turn.context.get("fact"), lambda: memory.write("wrong"), memory.read):
            with pytest.raises(kedge.RolledBack):
                call()
    assert memory.read() == set()


def a_settle_on_the_way_does_not_stop_it(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """Work goes on where its turn does, which its author chose."""
    memory = memory_on(k)
    with k.turn(session=SESSION, agent="planner", on_settle="continue"):
        memory.write("first")
        k.settle("v1")
        k.deploy("v3", {"other/prompt": "three"})
        k.promote("v3")
        k.settle("v3")
        memory.write("second")
        assert memory.read() == {"first", "second"}


def a_delete_of_the_bad_release_is_undone(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """What the release deleted comes back."""
    memory = memory_on(k)
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


def a_good_write_over_a_bad_one_stays(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """A write reads nothing of what it replaces."""
    memory = memory_on(k)
    release(k)
    with k.turn(session=SESSION, agent="helper"):
        memory.write("right")
    with k.turn(session=SESSION, agent="planner"):
        memory.write("right")  # unread
    k.rollback("v2")
    assert memory.read() == {"right"}


def threads_may_share_a_turn(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """Threads of one turn do not get in each other's way."""
    memory = memory_on(k)
    texts = TEXTS[-6:]
    with k.turn(session=SESSION, agent="planner") as turn, ThreadPoolExecutor(3) as pool:
        done = [pool.submit(kedge.bind(memory.write), text) for text in texts]
        turn.context.put("at the same time", 1)
        for each in done:
            each.result()
    assert memory.read() == set(texts)


def outside_turns_it_is_the_agent_s(k: kedge.Kedge, memory_on: MemoryOn) -> None:
    """Outside turns, a call is influenced by its agent's release."""
    memory = memory_on(k)
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


class MemoryContract:
    """Fixtures: `k`, a database after `start`, and `memory_on`, which builds the memory on it."""

    @pytest.fixture(autouse=True)
    def _sound(self, k: kedge.Kedge) -> Iterator[None]:
        yield
        assert k.fsck().findings == ()

    @pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
    def test_law(self, k: kedge.Kedge, memory_on: MemoryOn, law: Law) -> None:
        law(k, memory_on)
