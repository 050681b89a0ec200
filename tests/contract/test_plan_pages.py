"""Pages of a plan: counts are of the whole rollback, listings of some turns at a time."""

from __future__ import annotations

import pytest

import kedge
from kedge.recovery import plan as plans
from kedge.recovery import replay

SESSIONS = 7


@pytest.fixture
def answered(k: kedge.Kedge) -> kedge.Kedge:
    """Let v2 answer a question in each of seven sessions."""
    k.deploy("v2", {"support/prompt": "worse"})
    k.promote("v2")
    for number in range(SESSIONS):
        with k.turn(session=f"s{number}", agent="support") as turn:
            turn.memory.append("user", "where is it?")
            turn.memory.append("assistant", "lost")
            turn.context.put(f"case/{number}", number)
    return k


def test_pages_together_list_what_one_page_would(answered: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answered.plan("v2")
    assert (whole.is_whole, whole.next_turn, whole.turns_total) == (True, None, SESSIONS)
    monkeypatch.setattr(plans, "TURNS_A_PAGE", 3)
    pages = [answered.plan("v2")]
    while (following := pages[-1].next_turn) is not None:
        pages.append(answered.plan("v2", after=following))
    assert [page.turns_examined for page in pages] == [3, 3, 1]
    assert sum((page.sessions for page in pages), ()) == whole.sessions
    assert sum((page.replay_inputs for page in pages), ()) == whole.replay_inputs
    assert sum((page.sources_inside for page in pages), ()) == whole.sources_inside
    for page in pages:
        assert not page.is_whole
        assert "at least" in str(page)
        counted = (page.writes_total, page.keys_total, page.sessions_total, page.turns_total, page.agents, page.stores)
        assert counted == (15, 15, SESSIONS, SESSIONS, ("support",), whole.stores)


def test_the_spaces_listed_are_limited_and_the_stores_counted(
    answered: kedge.Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "SPACES_LISTED_MAX", 4)
    plan = answered.plan("v2")
    assert len(plan.effects) == 4
    assert [(store.store, store.spaces, store.writes) for store in plan.stores] == [
        ("artifacts", 1, 1), ("context", 1, SESSIONS), ("memory", SESSIONS, SESSIONS)
    ]  # fmt: skip


def test_inputs_that_wait_are_counted_up_to_a_limit(answered: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    report = answered.rollback("v2")
    assert report.indicators is not None
    assert (report.indicators.replay_pending_total, report.indicators.replay_pending_complete) == (SESSIONS, True)
    monkeypatch.setattr(replay, "TURNS_COUNTED_MAX", 2)
    found = answered.status()
    assert (found.replay_pending, found.replay_pending_complete) == (2, False)
    assert "at least 2 inputs" in str(found)
    assert len(answered.replay_pending()) == SESSIONS, "the list is whole"


@pytest.mark.parametrize("after", [-1, 1.5, "x", True])
def test_a_page_after_no_turn_is_refused(answered: kedge.Kedge, after: object) -> None:
    with pytest.raises(kedge.InvalidValue, match="invalid after"):
        answered.plan("v2", after=after)  # type: ignore[arg-type]
