"""A settle of what a turn does not see: which turns go on, at every moment, and what they have read then."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

import kedge
from kedge import Kedge
from tests.laws.scene import release
from tests.statements import statements


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    """Release a prompt that can be rolled back, and fix what a session sees."""
    with kedge.open(place, durability="normal") as opened:
        release(opened, "first")
        opened.turn(session="s", agent="helper").close()
        yield opened


@pytest.fixture
def other(place: str, k: Kedge) -> Iterator[Kedge]:  # noqa: ARG001 - it makes the database
    """Another process, as far as the store can tell."""
    with kedge.open(place, durability="normal") as opened:
        yield opened


def settle(k: Kedge, name: str = "late") -> None:
    """Settle a prompt that owes nothing to the one before."""
    release(k, name, independent=True)
    k.settle(name)


@pytest.mark.parametrize("session", [None, "s"])
def test_a_settle_before_any_statement_of_a_turns_beginning_and_first_read_does_not_stop_it(
    k: Kedge, other: Kedge, session: str | None
) -> None:
    seen: list[object] = []
    for nth in itertools.count(1):
        name = f"late {nth}"
        release(other, f"news {nth}", "other/prompt", independent=True, live=False)  # nothing is cached

        def race(number: int, nth: int = nth, name: str = name) -> None:
            if number == nth:
                settle(other, name)

        with statements(k, before=race) as sent:
            turn = k.turn(session=session, agent="helper")
            seen.append(turn.artifacts["helper/prompt"].value)
        if len(sent) < nth:
            break
        if seen[-1] == f"helper/prompt of {name}":
            assert turn.lineage == frozenset(), "what it began with counts no more: it had not read on"
            turn.context.put("key", nth)
        else:
            with pytest.raises(kedge.SettledMeanwhile):
                turn.context.put("key", nth)
        turn.close()
    assert nth > 3


def test_a_turn_that_has_only_begun_goes_on_with_what_was_settled(k: Kedge, other: Kedge) -> None:
    with k.turn(agent="helper") as reads, k.turn(agent="helper") as writes, k.turn(agent="helper") as batches:
        assert reads.lineage == {"first"}
        with batches.batch():
            batches.context.put("batch", 1)
            settle(other)
        writes.context.put("key", 1)
        assert reads.artifacts["helper/prompt"].value == "helper/prompt of late"
        assert [turn.lineage for turn in (reads, writes, batches)] == [frozenset()] * 3
    entries = [k.view().context.entry(key) for key in ("key", "batch")]
    assert [entry and entry.lineage for entry in entries] == [frozenset(), frozenset()]


@pytest.mark.parametrize("used", ["read", "write", "call", "absorb", "headers"])
def test_a_turn_that_has_done_anything_ends(k: Kedge, other: Kedge, used: str) -> None:
    with k.turn(agent="helper") as turn, k.turn(agent="clerk") as callee:
        if used == "read":
            turn.context.get("key")
        elif used == "write":
            turn.context.put("key", 1)
        elif used == "call":
            k.turn(agent="clerk", parent=turn).close()
        elif used == "absorb":
            turn.absorb(callee)
        else:
            turn.headers()
        settle(other)
        with pytest.raises(kedge.SettledMeanwhile):
            turn.context.put("key", 2)


def test_a_read_under_way_in_another_thread_is_use(k: Kedge, other: Kedge) -> None:
    with k.turn(agent="helper") as turn:

        def look(_: object) -> None:  # as a thread does that has its answer, and has not returned yet
            settle(other)
            with pytest.raises(kedge.SettledMeanwhile):
                turn.context.get("key")

        turn._scope.read(look)


def test_a_turn_that_continues_sees_what_was_settled_from_then_on(k: Kedge, other: Kedge) -> None:
    with k.turn(agent="helper", on_settle="continue") as turn, k.turn(agent="clerk", parent=turn) as child:
        assert turn.artifacts["helper/prompt"].value == "helper/prompt of first"
        assert child.context.get("key") is None
        settle(other)
        with k.turn(agent="late") as saw:
            saw.context.put("key", 1)
        assert turn.artifacts["helper/prompt"].value == "helper/prompt of late"
        assert child.context.get("key") == 1
        turn.context.put("key", 2)
        assert turn.lineage == child.lineage == {"first"}, "it has read that, too"
    other.rollback("first")
    assert k.view().context.get("key") == 1


def test_a_child_of_a_turn_that_continues_may_choose_otherwise(k: Kedge, other: Kedge) -> None:
    with k.turn(agent="helper", on_settle="continue") as turn, k.turn(parent=turn, agent="a", on_settle="raise") as own:
        own.context.get("key")
        settle(other)
        with pytest.raises(kedge.SettledMeanwhile):
            own.context.get("key")


def test_a_turn_that_continues_ends_where_what_it_has_read_is_rolled_back(k: Kedge, other: Kedge) -> None:
    with k.turn(agent="helper", on_settle="continue") as turn:
        settle(other)
        other.rollback("first")
        with pytest.raises(kedge.RolledBack):
            turn.context.get("key")


def test_another_policy_is_refused(k: Kedge) -> None:
    with pytest.raises(kedge.InvalidValue, match="must be 'raise' or 'continue'"):
        k.turn(agent="a", on_settle="ignore")  # type: ignore[arg-type]
