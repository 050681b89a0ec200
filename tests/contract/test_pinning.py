"""The start of a turn: which parts cost no statement, and that no pin is cached for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import kedge
import kedge.aio
from kedge import Kedge, Level
from kedge.errors import RolledBack
from tests.contract.conftest import canaried
from tests.statements import statements

LONG = 3_600.0


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    """Another process, as far as the store can tell."""
    with canaried(place) as opened:
        yield opened


@pytest.fixture
def m(place: str, k: Kedge) -> Iterator[Kedge]:  # noqa: ARG001 - its deployments are there first
    """A member."""
    with kedge.open(place, durability="normal") as opened, opened.join("m", lease_seconds=LONG):
        yield opened


@pytest.fixture
def deaf(m: Kedge, monkeypatch: pytest.MonkeyPatch) -> Kedge:
    """A member that hears of no change any more, and whose lease holds."""
    with m.turn(agent="support"):
        monkeypatch.setattr(m._kernel.membership, "_has_news", lambda: False)
    return m


def prompt(k: Kedge, session: str | None = None) -> object:
    with k.turn(session=session, agent="support") as turn:
        return turn.artifacts["support/prompt"].value


# ── what it costs ──


def test_a_member_pins_a_view_without_a_statement(m: Kedge) -> None:
    prompt(m)
    assert m.turn(agent="support").lineage == {"v1"}, "names are known from here on"
    with statements(m) as sent:
        with m.turn(agent="support") as turn:
            assert turn.level is Level.FULL
            assert turn.lineage == {"v1"}
        m.turn(person="ada").close()
        assert sent == []
        prompt(m)
    assert sent, "what reads is seen"


def test_what_a_session_is_fixed_to_is_one_statement(m: Kedge, k: Kedge) -> None:
    for opened in (m, k):
        prompt(opened, "s")
        with statements(opened) as sent:
            opened.turn(session="s", agent="support").close()
        assert len(sent) == 1, sent


def test_who_is_no_member_asks_for_the_epoch_alone(k: Kedge) -> None:
    prompt(k)
    with statements(k) as sent:
        k.turn(agent="support").close()
    assert len(sent) == 1, sent


# ── what it must not miss ──


def test_a_member_sees_its_own_changes_at_once(deaf: Kedge) -> None:
    assert prompt(deaf) == "one"
    with deaf.turn(agent="support") as before:
        deaf.set_level("support", "frozen")
        assert before.level is Level.FROZEN
        assert deaf.turn(agent="support").level is Level.FROZEN
    deaf.promote("v2")
    assert prompt(deaf) == "two"
    deaf.rollback("v2", wait=0.01)
    assert prompt(deaf) == "one"


def test_a_member_sees_the_changes_that_it_has_heard_of(m: Kedge, k: Kedge) -> None:
    assert prompt(m) == "one"
    k.promote("v2")
    member = m._kernel.membership
    assert member is not None
    while member.heard < k.epoch:
        pass
    assert prompt(m) == "two"


def test_a_callback_sees_the_record_that_it_is_called_for(m: Kedge, k: Kedge) -> None:
    seen = []
    m.on_change(lambda epoch: seen.append((epoch, m.turn(agent="support").seen)))
    assert prompt(m) == "one"
    k.promote("v2")
    k.deploy("v3", {"other/prompt": "three"})
    k.rollback("v3")  # returns when the member has acknowledged: when the callback has returned
    assert seen[-1] == (k.epoch, frozenset({"v1", "v2"}))


def test_a_turn_that_a_member_pins_too_late_reads_nothing_hidden(deaf: Kedge, k: Kedge) -> None:
    deaf.promote("v2")
    assert prompt(deaf) == "two"
    k.rollback("v2", wait=0.01)
    turn = deaf.turn(agent="support")
    assert turn.seen == {"v1", "v2"}
    with pytest.raises(RolledBack):
        turn.context.get("x")
    assert prompt(deaf) == "one", "it has heard now"


def test_a_turn_that_a_member_pins_too_late_sees_what_was_settled(deaf: Kedge, k: Kedge) -> None:
    k.promote("v2")
    k.settle("v1")
    k.settle("v2")
    with deaf.turn(agent="support") as turn:
        assert turn.artifacts["support/prompt"].value == "two"
        assert turn.lineage == frozenset()


def test_who_is_no_member_sees_every_change_at_once(place: str, k: Kedge) -> None:
    with kedge.open(place, durability="normal") as other:
        assert prompt(other) == "one"
        k.promote("v2")
        assert prompt(other) == "two"
        k.rollback("v2")
        assert prompt(other) == "one"


def test_a_session_that_another_process_fixed_anew_is_seen_by_a_member_at_once(deaf: Kedge, k: Kedge) -> None:
    k.canary("v2", 0.0)
    assert prompt(deaf, "s") == "one"
    k.promote("v2")
    assert prompt(deaf, "s") == "one", "what a session sees is fixed"
    k.refresh("s")
    assert prompt(deaf, "s") == "two"
    assert deaf.assignment("s") == ["v1", "v2"]


def test_a_deployment_just_staged_elsewhere_can_be_opened_by_a_member(deaf: Kedge, k: Kedge) -> None:
    k.deploy("v3", {"support/prompt": "three"})
    with deaf.turn(agent="support", deployment="v3") as turn:
        assert turn.artifacts["support/prompt"].value == "three"


def test_a_callee_sees_what_its_caller_saw_however_little_its_process_has_heard(deaf: Kedge, k: Kedge) -> None:
    deaf.turn(agent="other").close()
    k.deploy("v3", {"other/prompt": "three"})
    with k.turn(deployment="v3", agent="clerk") as caller:
        headers = caller.headers()
    with deaf.turn(agent="other", parent=headers) as callee:
        assert callee.lineage == {"v3"}, "its own prompt is that of v3"


def test_what_lies_under_an_agent_s_name_is_kept_for_one_view(k: Kedge) -> None:
    with k.turn(agent="support") as outside, k.turn(session="s", agent="support") as inside:
        assert outside.lineage == {"v1"}
        assert inside.lineage == {"v1", "v2"}
    with k.turn(agent="librarian") as turn:
        assert turn.lineage == frozenset()


def test_what_lies_under_an_agent_s_name_is_kept_for_one_epoch(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        with k.turn(agent="support") as turn:
            assert turn.cache.get_or_compute("greeting", lambda: "before") == "before"
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
        k.settle("v1")  # as at first, turns see no deployment that could be rolled back
        with k.turn(agent="support") as turn:
            assert turn.seen == frozenset()
            assert turn.cache.get_or_compute("greeting", lambda: "after") == "after"


def test_the_async_twin_pins_alike(place: str, k: Kedge) -> None:
    async def scenario() -> list[object]:
        found = []
        async with kedge.aio.open(place, durability="normal") as other:
            for change in (lambda: None, lambda: k.promote("v2"), lambda: k.rollback("v2")):
                change()
                async with other.turn(agent="support") as turn:
                    artifact = await turn.artifacts.get("support/prompt")
                    found.append(artifact and artifact.value)
        return found

    assert asyncio.run(scenario()) == ["one", "two", "one"]
