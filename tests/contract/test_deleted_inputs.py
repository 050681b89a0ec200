"""Deletes of what people said: replay does not hand over what is deleted, and no rollback undoes a person's delete."""

from __future__ import annotations

import pytest

import kedge
from kedge import Kedge, ReplayInput, Turn
from tests.laws.scene import VECTOR

POSTGRES_ONE_IN = 3


@pytest.fixture
def answered(k: Kedge) -> Kedge:
    """Put a canary up that answered a question in two sessions, and one about a document."""
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    for session in ("s1", "s2"):
        with k.turn(session=session, agent="support") as turn:
            turn.memory.append("user", f"question of {session}")
            turn.memory.append("assistant", "bad answer")
    with k.turn(person="pat") as turn:
        turn.documents("kb").put("doc", "text")
    with k.turn(agent="support", deployment="v2") as turn:
        turn.context.put("summary", turn.documents("kb").get("doc"))
    return k


def _question(k: Kedge, session: str) -> int:
    return next(m.seq for m in k.view(session=session).memory.history() if m.role == "user")


def _replayed(k: Kedge) -> tuple[list[object], int]:
    given: list[object] = []

    def handler(_: Turn, item: ReplayInput) -> None:
        given.append(item.value)

    report = k.replay(handler)
    assert report.pending == 0
    return given, report.deleted


def test_what_a_person_has_deleted_is_not_replayed(answered: Kedge) -> None:
    answered.rollback("v2")
    with answered.turn(session="s1", person="pat") as turn:
        turn.memory.delete(_question(answered, "s1"))
        turn.documents("kb").delete("doc")
    assert [item.session for item in answered.replay_pending()] == ["s2"]
    assert answered.status().replay_pending == 1
    assert _replayed(answered) == (["question of s2"], 2)


def test_a_plan_does_not_count_it_either(answered: Kedge) -> None:
    assert len(answered.plan("v2").replay_inputs) == 3
    with answered.turn(session="s1", person="pat") as turn:
        turn.memory.delete(_question(answered, "s1"))
    assert len(answered.plan("v2").replay_inputs) == 2


def test_a_delete_that_the_rollback_hides_does_not_count(answered: Kedge) -> None:
    with answered.turn(session="s1", agent="support") as turn:
        turn.memory.delete(_question(answered, "s1"))
    answered.rollback("v2")
    assert _replayed(answered) == (["question of s1", "question of s2", "text"], 0)


def test_an_agent_s_delete_at_the_user_s_request_stays(answered: Kedge) -> None:
    with answered.turn(session="s1", agent="support") as turn:
        turn.memory.delete(_question(answered, "s1"), origin="source")
    answered.rollback("v2")
    assert answered.view(session="s1").memory.history() == []
    assert _replayed(answered) == (["question of s2", "text"], 1)


def test_no_rollback_undoes_a_person_s_delete(answered: Kedge) -> None:
    with answered.turn(agent="clerk") as turn:
        turn.context.put("fact", 1, origin="source")
        turn.vectors("kb").upsert(["v"], [VECTOR], origin="source")
    with answered.turn(session="s1", person="pat", deployment=None) as turn:
        turn.context.get("summary")  # influenced, and still a person's will
        turn.memory.history()
        turn.memory.delete(_question(answered, "s1"))
        turn.documents("kb").delete("doc")
        turn.context.delete("fact")
        turn.vectors("kb").delete(["v"])
        assert turn.lineage == {"v2"}
    answered.rollback("v2")
    view = answered.view(session="s1")
    assert view.memory.history() == []
    assert (view.documents("kb").get("doc"), view.context.get("fact"), view.vectors("kb").count()) == (None, None, 0)
    assert isinstance(view, kedge.ReadView)
