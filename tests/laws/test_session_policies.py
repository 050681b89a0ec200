"""Settings of sessions: refresh policies, units that canaries draw by, lists, holdbacks, ends; views of everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kedge
from kedge import Kedge
from kedge.model import assignment, transitions
from kedge.model.assignment import Units
from kedge.model.control import ControlRecord
from tests.laws.scene import clerk, helper, release

POSTGRES_ONE_IN = 2
BY: dict[str, Any] = {"now": 0.0, "by": "test"}
units = st.text(min_size=1, max_size=8)
weights = st.floats(0, 1)


def canary(k: Kedge, name: str, weight: float = 1.0, key: str = "helper/prompt", **options: Any) -> None:
    k.deploy(name, {key: f"{key} of {name}"}, canary=weight, independent=True, **options)


def seen(k: Kedge, session: str, **options: Any) -> set[str]:
    with k.turn(session, "clerk", **options) as turn:
        return set(turn.seen)


# ── refresh ──


@pytest.mark.both
def test_a_promoted_session_adopts_what_became_live_at_its_next_root_turn(k: Kedge) -> None:
    with k.turn("s", "clerk", refresh="promoted") as turn:
        release(k, "v1")
        assert turn.seen == set(), "a turn keeps what it began with"
        child = k.turn(agent="helper", parent=turn.headers())
        assert child.seen == set(), "a child sees what its caller sees"
        assert k.view(session="s").seen == {"v1"}, "what its next turn sees"
    assert seen(k, "s") == {"v1"}
    assert k.assignment("s") == ["v1"]
    k.rollback("v1")
    assert seen(k, "s") == set()
    assert seen(k, "never", refresh="never") == set()
    release(k, "v2")
    assert seen(k, "never") == set()
    assert seen(k, "s") == {"v2"}


@pytest.mark.both
def test_a_promoted_session_neither_enters_nor_leaves_a_canary(k: Kedge) -> None:
    canary(k, "mine")
    assert seen(k, "in", refresh="promoted") == {"mine"}
    k.canary("mine", 0.0)
    assert seen(k, "out", refresh="promoted") == set()
    k.canary("mine", 1.0)
    release(k, "rival", independent=True)
    release(k, "on rival")
    release(k, "other", "clerk/prompt")
    assert seen(k, "in") == {"mine", "other"}, "not what shares an artifact with its canary, nor what rests on that"
    assert seen(k, "out") == {"rival", "on rival", "other"}
    k.rollback("mine")
    assert seen(k, "in") == {"rival", "on rival", "other"}


def test_a_time_refreshes_a_session_anew(place: str) -> None:
    clock = HandClock()
    with kedge.open(place, durability="normal", clock=clock) as k:
        assert seen(k, "s", refresh=60) == set()
        release(k, "v1")
        assert seen(k, "s", refresh=60.0) == set()
        clock.time += 61
        assert k.view(session="s").seen == {"v1"}
        assert seen(k, "s") == {"v1"}


class HandClock:
    """Time stands until the test moves it on."""

    def __init__(self) -> None:
        self.time, self.ids = 1_700_000_000.0, 0

    def now(self) -> float:
        return self.time

    def fresh_id(self) -> str:
        self.ids += 1
        return f"{self.ids:032x}"


@pytest.mark.both
def test_settings_are_fixed_at_the_first_turn(k: Kedge) -> None:
    seen(k, "s", refresh="promoted", unit_id="user-7")
    seen(k, "s", refresh="promoted")
    seen(k, "s", unit_id="user-7")
    for other in ({"refresh": "never"}, {"refresh": 60}, {"unit_id": "user-8"}):
        with pytest.raises(kedge.SessionBegun, match="began with"):
            seen(k, "s", **other)
    seen(k, "plain")
    with pytest.raises(kedge.SessionBegun, match="began without unit_id=, and this turn gives 'user-7'"):
        seen(k, "plain", unit_id="user-7")
    with k.turn("s", "clerk") as turn, pytest.raises(kedge.Conflict):
        k.turn(agent="helper", parent=turn.headers(), unit_id="user-8")
    found = {info.session: (info.refresh, info.unit_id) for info in k.sessions()}
    assert found == {"plain": ("never", None), "s": ("promoted", "user-7")}


def test_wrong_settings_are_refused(k: Kedge) -> None:
    for wrong in ("always", 0, -1, True, float("nan"), float("inf")):
        with pytest.raises(kedge.InvalidValue, match="refresh"):
            seen(k, "s", refresh=wrong)
    with pytest.raises(kedge.InvalidValue, match="unit_id"):
        seen(k, "s", unit_id="")
    with pytest.raises(kedge.InvalidValue, match="give session="):
        k.turn(agent="clerk", unit_id="user-7")
    assert k.sessions() == []


@pytest.mark.both
def test_the_past_of_a_promoted_session_stays(k: Kedge) -> None:
    points: list[tuple[int, set[str]]] = []

    def note() -> None:
        with k.turn("other", person="pat") as turn:
            turn.context.put("tick", len(points))
        points.append((k.seq, set(k.view(session="s").seen)))

    seen(k, "s", refresh="promoted")
    note()
    for number in (1, 2):
        release(k, f"v{number}", f"agent-{number}/prompt")
        note()
        seen(k, "s")
        note()
    k.rollback("v1")
    note()
    k.reinstate("v1")
    k.end_session("s")
    note()
    assert [set(k.at(seq, session="s").seen) for seq, _ in points] == [then for _, then in points]
    assert points[1][1] == {"v1"}


# ── units and lists ──


@pytest.mark.both
def test_a_canary_draws_by_the_unit_that_a_session_remembers(k: Kedge) -> None:
    canary(k, "half", 0.5)
    for user in range(6):
        both = [seen(k, f"{user}-{n}", unit_id=f"user-{user}") for n in range(3)]
        joins = assignment.joins_canary("half", f"user-{user}", 0.5)
        assert both == [{"half"} if joins else set()] * 3
        assert set(k.refresh(f"{user}-0")) == both[0]


@pytest.mark.both
def test_lists_come_first(k: Kedge) -> None:
    canary(k, "new", 0.0, allow=["user-1", "s-2"])
    assert seen(k, "a", unit_id="user-1") == {"new"}
    assert seen(k, "s-2") == {"new"}
    assert seen(k, "user-3") == set()
    found = k.canary("new", 1.0, deny=["user-3"])
    assert (found.allow, found.deny) == (("s-2", "user-1"), ("user-3",)), "None leaves a list as it is"
    assert seen(k, "b", unit_id="user-3") == set()
    assert seen(k, "c", unit_id="user-4") == {"new"}
    assert k.canary("new", 0.0, allow=[]).allow == ()
    assert seen(k, "d", unit_id="user-1") == set()
    k.canary("new", 1.0, allow=["user-1"], deny=["user-4"])
    k.promote("new")
    assert seen(k, "e", unit_id="user-4") == {"new"}, "live: every new session sees it"


def test_a_unit_is_in_the_canary_that_allows_it(k: Kedge) -> None:
    canary(k, "first", 1.0)
    canary(k, "second", 0.0, allow=["user-1"])
    assert seen(k, "a", unit_id="user-1") == {"second"}, "both change one artifact"
    assert seen(k, "b", unit_id="user-2") == {"first"}


def test_wrong_lists_are_refused(k: Kedge) -> None:
    for wrong in ("user-1", [1], [""], 5):
        with pytest.raises(kedge.InvalidValue, match="allow"):
            canary(k, "new", 0.0, allow=wrong)
    with pytest.raises(kedge.InvalidValue, match="both allow and deny"):
        canary(k, "new", 0.0, allow=["a"], deny=["a"])
    with pytest.raises(kedge.InvalidValue, match="10,001 units, more than 10,000"):
        canary(k, "new", 0.0, allow=[str(n) for n in range(10_001)])
    assert [d.name for d in k.deployments()] == ["good"]


def test_long_lists_lie_beside_the_record(k: Kedge) -> None:
    canary(k, "new", 0.0, allow=[f"user-{n}" for n in range(5_000)])
    at = k.seq
    k.canary("new", 0.0, allow=[])
    record = k._kernel.backend.control.load()
    assert record.by_number[2].lists
    assert seen(k, "user-17") == set()
    assert k.at(at, session="user-18").seen == {"new"}, "one that was unknown then is treated as new"


@given(units, weights, weights, st.sets(units, max_size=3), st.sets(units, max_size=3))
def test_raising_a_weight_only_adds_units(unit: str, low: float, high: float, allow: set[str], deny: set[str]) -> None:
    low, high = sorted((low, high))
    lists = Units(frozenset(allow), frozenset(deny))
    if assignment.joins_canary("c", unit, low, lists):
        assert assignment.joins_canary("c", unit, high, lists)
    if unit in deny or unit in allow:
        assert assignment.joins_canary("c", unit, low, lists) is (unit not in deny)


# ── holdback ──


@given(units, weights, st.floats(0, 0.99))
def test_who_is_held_back_is_the_last_to_join(unit: str, weight: float, holdback: float) -> None:
    record = transitions.stage(ControlRecord(), "c", artifacts=("a/prompt",), bases=(), **BY)
    record = transitions.promote(record, "c", holdback=holdback, **BY)
    if assignment.is_held_back(record.find("c"), unit) and weight <= 1 - holdback:
        assert not assignment.joins_canary("c", unit, weight)


@pytest.mark.both
def test_the_sessions_held_back_see_neither_it_nor_what_rests_on_it(k: Kedge) -> None:
    k.deploy("new", {"helper/prompt": "new"}, deny=["held"])
    k.promote("new", holdback=0.001)
    release(k, "on new")
    assert seen(k, "held", refresh="promoted") == set()
    assert seen(k, "other") == {"new", "on new"}
    assert k.refresh("held") == [], "no refresh moves it"
    release(k, "apart", "clerk/prompt")
    assert seen(k, "held") == {"apart"}
    assert k.deployment("new").holdback == 0.001
    k.settle("new")
    assert seen(k, "held") == {"apart", "on new"}, "a settled one is seen by every view"


def test_a_wrong_holdback_is_refused(k: Kedge) -> None:
    k.deploy("new", {"helper/prompt": "new"})
    for wrong in (1, -0.1, "half", True):
        with pytest.raises(kedge.InvalidValue, match="holdback"):
            k.promote("new", holdback=wrong)  # type: ignore[arg-type]  # on purpose
    assert k.deployment("new").status == "staged"


# ── ends, views of everything ──


@pytest.mark.both
def test_an_ended_session_begins_anew(k: Kedge) -> None:
    canary(k, "new")
    with k.turn("s", "helper", unit_id="user-1", refresh="promoted") as turn:
        turn.memory.append("assistant", "under the canary")
        ended = k.end_session("s")
        assert (ended.ended, ended.sees, ended.unit_id) == (True, ("new",), "user-1")
        turn.memory.append("assistant", "open turns go on")
    assert k.end_session("s") == ended
    assert k.sessions(seeing="new") == [], "its next turn may not see it"
    assert len(k.view(session="s").memory.history()) == 2, "as it ended"
    k.canary("new", 0.0)
    with k.turn("s", "clerk", unit_id="user-2") as turn:
        assert turn.seen == set()
        assert turn.memory.history() == []
    assert [(info.ended, info.unit_id, info.refresh) for info in k.sessions()] == [(False, "user-2", "never")]
    with pytest.raises(kedge.UnknownName, match="no session is named 'nobody'"):
        k.end_session("nobody")


@pytest.mark.both
def test_a_replay_does_not_begin_an_ended_session(k: Kedge) -> None:
    release(k, "bad")
    with helper(k) as turn:
        turn.memory.append("user", "hello")
        turn.memory.append("assistant", "bad")
    k.end_session("s")
    k.rollback("bad")
    report = k.replay(lambda turn, item: turn.memory.append("assistant", f"re: {item.value}"))
    assert len(report.replayed) == 1
    assert [info.ended for info in k.sessions()] == [True]
    assert [m.content for m in k.view(session="s").memory.history()] == ["hello", "re: hello"]


@pytest.mark.both
def test_a_view_of_everything_spans_canaries(k: Kedge) -> None:
    for number in (1, 2):
        canary(k, f"c{number}", 0.0, allow=[f"s{number}"])
        with helper(k, f"s{number}") as turn:
            turn.context.put(f"by/{number}", number)
            turn.memory.append("assistant", number)
    k.deploy("staged", {"helper/prompt": "staged"})
    at = k.seq
    view = k.view(everything=True)
    assert view.seen == {"c1", "c2", "staged"}
    assert view.context.items() == {"by/1": 1, "by/2": 2}
    assert [m.content for m in k.view("s2", everything=True).memory.history()] == [2]
    k.rollback("c1")
    assert view.context.items() == {"by/2": 2}
    assert k.at(at, everything=True).context.items() == {"by/1": 1, "by/2": 2}
    with pytest.raises(kedge.InvalidValue, match="exclude each other"):
        k.view(deployment="c2", everything=True)
    with clerk(k, None) as turn:
        assert turn.context.items() == {}
