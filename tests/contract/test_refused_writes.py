"""Inputs that were answered below the level for derived writes: they are replayed once the level is back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import kedge
from tests.contract.conftest import HandClock

Act = Callable[[kedge.Turn], Any]


def talk(k: kedge.Kedge, text: str, session: str = "s") -> None:
    """Say something; the agent cannot store its answer where the level does not allow it."""
    with k.turn(session=session, agent="support") as turn:
        turn.memory.append("user", text)
        with suppress(kedge.Frozen):
            turn.memory.append("assistant", f"answer to {text}")


def again(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
    turn.memory.append("assistant", f"answer to {item.value}")


def said(k: kedge.Kedge, session: str = "s") -> list[Any]:
    return [message.content for message in k.view(session=session).memory.history()]


def pending(k: kedge.Kedge) -> list[str]:
    return [item.key for item in k.replay_pending()]


@pytest.mark.parametrize("level", ["frozen", "cautious", "fallback", "off"])
def test_a_refused_derived_write_makes_its_input_pending(k: kedge.Kedge, level: Any) -> None:
    talk(k, "one")
    entry = k.ladder.tighten(level, "feature:support", by="ann")
    talk(k, "two")
    talk(k, "three", "t")
    assert len(k.replay_pending()) == k.status().replay_pending == 2
    report = k.replay(again)
    assert [why for _, why in report.failed] == [f"Frozen: {why}" for why in [_frozen(k, level, entry)] * 2]
    assert len(k.replay_pending()) == 2, "the level still refuses"
    k.ladder.loosen(entry, by="ann")
    report = k.replay(again)
    assert (len(report.replayed), report.pending) == (2, 0)
    assert said(k) == ["one", "answer to one", "two", "answer to two"]
    assert said(k, "t") == ["three", "answer to three"]
    assert k.replay(again).replayed == ()
    assert k.status().replay_pending == 0
    assert k._kernel.backend.provenance.refused_turns() == [], "what was answered is forgotten"
    assert k.fsck(full=True).findings == ()


def _frozen(k: kedge.Kedge, level: str, entry: kedge.LevelEntry) -> str:
    with pytest.raises(kedge.Frozen) as error:
        k.turn(agent="support").require("learn")
    assert f"at level {level} ({entry.id}" in str(error.value)
    return str(error.value)


def test_a_replayed_answer_ranks_at_its_input(k: kedge.Kedge) -> None:
    entry = k.ladder.tighten("frozen", "everything", by="ann")
    talk(k, "one")
    k.ladder.loosen(entry, by="ann")
    talk(k, "two")
    k.replay(again)
    assert said(k) == ["one", "answer to one", "two", "answer to two"]


def _batch(turn: kedge.Turn) -> None:
    with turn.batch():
        turn.context.put("a", 1)
        turn.memory.append("user", "with it")


WRITES: dict[str, Act] = {
    "context": lambda turn: turn.context.put("a", 1),
    "documents": lambda turn: turn.documents("kb").put("a", "b", origin="derived"),
    "vectors": lambda turn: turn.vectors("kb").upsert(["a"], [[1.0, 0.0, 0.0]]),
    "require": lambda turn: turn.require("learn"),
    "batch": _batch,
}


@pytest.mark.parametrize("write", WRITES)
def test_each_kind_of_derived_write_counts(k: kedge.Kedge, write: str) -> None:
    k.ladder.tighten("frozen", "session:s", by="ann")
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "one")
        for _ in range(2):
            with pytest.raises(kedge.Frozen):
                WRITES[write](turn)
    assert len(k.replay_pending()) == 1


def test_the_input_of_a_called_agent_is_its_caller_s(k: kedge.Kedge) -> None:
    entry = k.ladder.tighten("frozen", "feature:planner", by="ann")
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "plan it")
        with k.turn(agent="planner", parent=turn.headers()) as child, pytest.raises(kedge.Frozen):
            child.context.put("plan", 1)
    (item,) = k.replay_pending()
    assert (item.store, item.space) == ("memory", "s")
    k.ladder.loosen(entry, by="ann")
    assert len(k.replay(lambda turn, _: turn.context.put("plan", 1)).replayed) == 1
    assert k.view().context.get("plan") == 1
    assert k.replay_pending() == []


def test_what_was_read_and_not_written_is_an_input_too(k: kedge.Kedge) -> None:
    with k.turn(person="ann") as turn:
        turn.documents("kb").put("doc", "a text")
    k.ladder.tighten("frozen", "everything", by="ann")
    with k.turn(agent="summarizer") as turn, pytest.raises(kedge.Frozen):
        turn.context.put("summary", turn.documents("kb").get("doc"))
    assert pending(k) == ["doc"]


def test_a_deleted_input_is_not_pending(k: kedge.Kedge) -> None:
    k.ladder.tighten("frozen", "everything", by="ann")
    talk(k, "one")
    assert len(k.replay_pending()) == 1
    with k.turn(session="s", person="ann") as turn:
        turn.memory.clear()
    assert k.replay_pending() == []


def test_a_refusal_is_no_call_and_is_not_pruned(k: kedge.Kedge, clock: HandClock) -> None:
    entry = k.ladder.tighten("frozen", "everything", by="ann")
    with k.turn(agent="summarizer", session="s") as turn:
        turn.memory.append("user", "one")
        with pytest.raises(kedge.Frozen):
            turn.context.put("summary", 1)
    k.set_retention(3_600, store="reads")
    for _ in range(3):
        clock.time += 1e6
        talk(k, "later", "t")
        k.reclaim()
    assert k.verdicts() == []
    assert len([item for item in k.replay_pending() if item.space == "s"]) == 1
    k.ladder.loosen(entry, by="ann")
    assert k.replay(again).failed == ()
    assert k.replay_pending() == []


def test_a_rollback_and_a_refusal_of_one_input_are_one_replay(k: kedge.Kedge) -> None:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    talk(k, "one")
    k.ladder.tighten("frozen", "feature:support", by="ann")
    talk(k, "two")
    k.rollback("bad")
    assert len(k.replay_pending()) == 2
    assert len(k.replay_pending("bad")) == 1
    k.set_level("support", "full")
    assert (len(k.replay(again).replayed), k.replay_pending()) == (2, [])


def test_a_replay_whose_handler_goes_on_after_a_refusal_has_not_answered(k: kedge.Kedge) -> None:
    entry = k.ladder.tighten("frozen", "feature:support", by="ann")
    talk(k, "one")

    def careless(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
        with suppress(kedge.Frozen):
            again(turn, item)

    report = k.replay(careless)
    assert (len(report.replayed), report.pending) == (0, len(pending(k)))
    assert report.failed[0][1].startswith("Frozen")
    k.ladder.loosen(entry, by="ann")
    assert len(k.replay(careless).replayed) == 1
    assert said(k) == ["one", "answer to one"]
    assert not pending(k)
