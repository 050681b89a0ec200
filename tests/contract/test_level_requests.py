"""Approvals: of single calls, used once; and of what loosens, by a second person."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.errors import ApprovalNeeded
from kedge.model.requests import KEPT_SECONDS, REQUEST_SECONDS, LevelRequest
from tests.contract.conftest import HandClock

CALL = {"order": 17, "amount": "30.00"}


def asked(turn: kedge.Turn, call: Any = CALL, **options: Any) -> LevelRequest:
    """Return the request that a call needs."""
    with pytest.raises(ApprovalNeeded) as error:
        turn.require("act", tool="refund", call=call, **options)
    request = error.value.request
    assert isinstance(request, LevelRequest)
    assert request.id in str(error.value)
    return request


@pytest.fixture
def entry(k: kedge.Kedge) -> kedge.LevelEntry:
    return k.ladder.tighten("supervised", "feature:support", reason="new prompt", by="ann")


# ── calls ──


@pytest.mark.usefixtures("entry")
def test_an_approved_call_gets_its_permit_once(k: kedge.Kedge) -> None:
    turn = k.turn(session="s", agent="support")
    request = asked(turn)
    assert asked(turn) == request, "it is not asked twice"
    assert k.ladder.requests() == [request]
    assert k.ladder.approve(request, by="ann").status == "approved"
    later = k.turn(session="s", agent="support")
    with later.require("act", tool="refund", call={"amount": "30.00", "order": 17}) as permit:
        assert (permit.approved_by, permit.verdict) == ("ann", "approved")
        permit.check()
    assert asked(turn).id != request.id, "used once"
    assert [(e.kind, e.by) for e in k.log(2)] == [("approve", "ann"), ("tighten", "ann")]


@pytest.mark.usefixtures("entry")
def test_a_permit_that_is_in_use_is_not_used_a_second_time(k: kedge.Kedge) -> None:
    turn = k.turn(session="s", agent="support")
    k.ladder.approve(asked(turn), by="ann")
    permit = turn.require("act", tool="refund", call=CALL)
    with permit, pytest.raises(kedge.NotPermitted, match="is in use"), permit:
        raise AssertionError("one approval, two calls")
    with pytest.raises(kedge.NotPermitted, match="has ended"), permit:
        raise AssertionError("it has ended")


@pytest.mark.usefixtures("entry")
def test_an_approval_is_bound_to_the_call(k: kedge.Kedge) -> None:
    turn = k.turn(session="s", agent="support")
    k.ladder.approve(asked(turn), by="ann")
    k.ladder.tighten("supervised", "feature:other", by="ann")
    for session, agent, options in (
        ("s", "support", {"call": CALL | {"amount": "3000.00"}}),
        ("s", "support", {"call": None}),
        ("s", "support", {"reversibility": "compensable"}),
        ("t", "support", {}),
        (None, "support", {}),
        ("s", "other", {}),
    ):
        asked(k.turn(session=session, agent=agent), **({"call": CALL} | options))
    with pytest.raises(ApprovalNeeded):
        turn.require("act", tool="mail", call=CALL)
    assert turn.require("act", tool="refund", call=CALL).approved_by == "ann"
    with pytest.raises(kedge.InvalidValue, match="pass the parameters as JSON values"):
        turn.require("act", tool="refund", call={"x": object()})


@pytest.mark.usefixtures("entry")
def test_a_request_and_an_approval_expire(k: kedge.Kedge, clock: HandClock) -> None:
    turn = k.turn(session="s", agent="support")
    first = asked(turn)
    clock.time += REQUEST_SECONDS + 1
    with pytest.raises(kedge.NotPermitted, match="has expired, and is denied"):
        k.ladder.approve(first, by="ann")
    assert k.ladder.requests() == []
    second = asked(turn)
    assert second.id != first.id
    clock.time += REQUEST_SECONDS - 1
    k.ladder.approve(second, by="ann")
    clock.time += REQUEST_SECONDS + 1
    assert asked(turn).id not in {first.id, second.id}, "approved, and not used in time"


@pytest.mark.usefixtures("entry")
def test_a_denied_call_stays_denied(k: kedge.Kedge) -> None:
    turn = k.turn(session="s", agent="support")
    request = asked(turn)
    assert k.ladder.deny(request, by="ann").status == "denied"
    with pytest.raises(kedge.IllegalTransition, match="is denied by ann"):
        k.ladder.approve(request, by="ben")
    assert asked(turn).id != request.id


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize("approved", [False, True])
def test_while_the_level_allows_nothing_requests_stand_still(k: kedge.Kedge, clock: HandClock, approved: bool) -> None:
    turn = k.turn(session="s", agent="support")
    request = asked(turn)
    if approved:
        k.ladder.approve(request, by="ann")
    clock.time += 100
    stop = k.ladder.tighten("cautious", "session:s", by="ann")
    with pytest.raises(kedge.NotPermitted, match="may not act") as error:
        turn.require("act", tool="refund", call=CALL)
    assert not isinstance(error.value, ApprovalNeeded)
    if not approved:
        with pytest.raises(kedge.NotPermitted, match="stands still"):
            k.ladder.approve(request, by="ann")
    clock.time += 10 * REQUEST_SECONDS
    k.ladder.loosen(stop, by="ann")
    clock.time += REQUEST_SECONDS - 200
    if not approved:
        assert k.ladder.requests() == [request]
        k.ladder.approve(request, by="ann")
    assert turn.require("act", tool="refund", call=CALL).approved_by == "ann"


def test_the_time_that_a_request_has_left_runs_out_after_the_stop(k: kedge.Kedge, clock: HandClock) -> None:
    k.ladder.tighten("supervised", "feature:support", by="ann")
    request = asked(k.turn(session="s", agent="support"))
    stop = k.ladder.tighten("off", "everything", by="ann")
    clock.time += 10 * REQUEST_SECONDS
    k.ladder.loosen(stop, by="ann")
    clock.time += REQUEST_SECONDS + 1
    with pytest.raises(kedge.NotPermitted, match="has expired"):
        k.ladder.approve(request, by="ann")


def test_a_permit_of_an_approved_call_ends_when_the_level_falls(k: kedge.Kedge, entry: kedge.LevelEntry) -> None:
    turn = k.turn(session="s", agent="support")
    k.ladder.approve(asked(turn), by="ann")
    permit = turn.require("act", tool="refund", call=CALL)
    k.ladder.loosen(entry, by="ann")
    assert permit.check().level == "full"
    k.ladder.tighten("off", "tool:refund", by="ann")
    with pytest.raises(kedge.NotPermitted, match="at level off"):
        permit.check()


@pytest.mark.usefixtures("entry")
def test_an_agent_approves_nothing(k: kedge.Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        request = asked(turn)
        for by in (None, "ann"):
            with pytest.raises(kedge.NotPermitted, match="a person does"):
                k.ladder.approve(request, by=by)
    with pytest.raises(kedge.NotPermitted, match="'agent:support' cannot approve"):
        k.ladder.approve(request.id, by="agent:support")
    with pytest.raises(kedge.UnknownName, match="no request 'x'"):
        k.ladder.approve("x", by="ann")


@pytest.mark.usefixtures("entry")
def test_of_many_that_use_an_approval_at_once_one_gets_the_permit(k: kedge.Kedge) -> None:
    k.ladder.approve(asked(k.turn(session="s", agent="support")), by="ann")
    ready, permits = threading.Barrier(4), list[kedge.Permit]()

    def act() -> None:
        turn = k.turn(session="s", agent="support")
        ready.wait(20)
        with suppress(ApprovalNeeded):
            permits.append(turn.require("act", tool="refund", call=CALL))

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(permits) == 1


# ── two persons ──


def test_two_persons_loosen_where_the_database_is_set_so(k: kedge.Kedge) -> None:
    k.ladder.require_two_persons(reason="policy", by="ann")
    off = k.ladder.tighten("off", "feature:support", by="ann")
    frozen = k.ladder.tighten("frozen", "feature:support", by="ann")
    assert k.ladder.loosen(frozen, by="ben") == frozen, "one person loosens frozen"
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.loosen(off, reason="fixed", by="ben")
    request = error.value.request
    assert k.ladder.list() == [off]
    with pytest.raises(kedge.NotPermitted, match="another person does"):
        k.ladder.approve(request, by="ben")
    with pytest.raises(ApprovalNeeded) as again:
        k.ladder.loosen(off, by="cay")
    assert again.value.request == request
    assert k.ladder.approve(request, by="ann").status == "used"
    assert k.ladder.list() == []
    newest = k.log(1)[0]
    assert (newest.kind, newest.by, newest.reason, newest.detail["approved_by"]) == ("loosen", "ben", "fixed", "ann")
    with pytest.raises(kedge.IllegalTransition, match="is used by ann"):
        k.ladder.approve(request, by="dan")


def test_the_short_form_and_expired_requests_get_around_nothing(k: kedge.Kedge, clock: HandClock) -> None:
    k.ladder.require_two_persons(by="ann")
    k.set_level("support", "off", by="ann")
    for level in ("full", "frozen"):
        with pytest.raises(kedge.NotPermitted, match="two persons loosen off of feature:support"):
            k.set_level("support", level, by="ann")
    (off,) = k.ladder.list()
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.loosen(off, by="ann")
    clock.time += REQUEST_SECONDS + 1
    with pytest.raises(kedge.NotPermitted, match="has expired, and is denied"):
        k.ladder.approve(error.value.request, by="ben")
    assert k.ladder.list() == [off]


def test_a_request_is_bound_to_its_entry(k: kedge.Kedge) -> None:
    off = k.ladder.tighten("off", "feature:support", by="ann")
    k.ladder.require_two_persons(by="ann")
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.loosen(off, by="ann")
    k.ladder.loosen(off, by="ann", reason="the shop burns", break_glass=True)
    another = k.ladder.tighten("off", "feature:support", by="ann")
    with pytest.raises(kedge.UnknownName, match=f"no level entry '{off.id}'"):
        k.ladder.approve(error.value.request, by="ben")
    assert k.ladder.list() == [another]


def test_a_crash_after_the_commit_of_an_approved_change_does_it_once(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = k.ladder.tighten("off", "feature:support", by="ann")
    k.ladder.require_two_persons(by="ann")
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.loosen(off, by="ann")
    with monkeypatch.context() as patch:
        patch.setattr(k._kernel.backend.requests, "decide", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            k.ladder.approve(error.value.request, by="ben")
    assert (k.ladder.list(), k.ladder.requests()) == ([], [])
    epoch = k.epoch
    assert k.ladder.approve(error.value.request, by="ben").status == "used"
    assert k.epoch == epoch


def test_break_glass_needs_a_reason_and_is_marked(k: kedge.Kedge) -> None:
    k.ladder.require_two_persons(by="ann")
    off = k.ladder.tighten("off", "everything", by="ann")
    with pytest.raises(kedge.InvalidValue, match="needs a reason"):
        k.ladder.loosen(off, by="ann", break_glass=True)
    k.ladder.loosen(off, by="ann", reason="the shop burns", break_glass=True)
    assert k.log(1)[0].detail["break_glass"] is True


def test_to_end_two_persons_wants_two(k: kedge.Kedge) -> None:
    k.ladder.require_two_persons(by="ann")
    k.ladder.require_two_persons(by="ann")
    assert k.ladder.two_persons
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.require_two_persons(False, reason="too slow", by="ann")
    assert k.ladder.two_persons
    k.ladder.approve(error.value.request, by="ben")
    assert not k.ladder.two_persons


# ── the rights of levels ──


def test_presets_count_everywhere(k: kedge.Kedge, place: str, tmp_path: Path) -> None:
    k.ladder.tighten("frozen", "feature:support", by="ann")
    turn = k.turn(session="s", agent="support")
    assert turn.may("act", reversibility="undoable")
    file = tmp_path / "presets.toml"
    file.write_text('[frozen]\nact = {undoable = "approved"}\n', encoding="utf-8")
    k.ladder.set_presets(file, reason="careful", by="ann")
    assert not turn.may("act", reversibility="undoable")
    with kedge.open(place, durability="normal") as other:
        assert other.ladder.presets() == k.ladder.presets()
    k.ladder.set_presets('[supervised]\nlearn = "no"', by="ann")
    k.ladder.tighten("supervised", "feature:other", by="ann")
    with pytest.raises(kedge.Frozen, match="at level supervised"):
        k.turn(agent="other").context.put("a", 1)
    with pytest.raises(kedge.InvalidValue, match="more than supervised"):
        k.ladder.set_presets('[supervised]\nlearn = "no"\n[frozen]\nlearn = "yes"', by="ann")
    k.ladder.set_presets("", by="ann")
    assert turn.may("act", reversibility="undoable")


def test_presets_that_loosen_want_two_persons(k: kedge.Kedge) -> None:
    k.ladder.require_two_persons(by="ann")
    k.ladder.set_presets('[fallback]\ngenerate = "no"', by="ann")
    with pytest.raises(ApprovalNeeded) as error:
        k.ladder.set_presets("", by="ann")
    assert k.ladder.presets().fallback.generate == "no"
    k.ladder.approve(error.value.request, by="ben")
    assert k.ladder.presets().fallback.generate == "cached"


def test_old_requests_are_forgotten(k: kedge.Kedge, clock: HandClock) -> None:
    k.ladder.tighten("supervised", "feature:support", by="ann")
    first = asked(k.turn(session="s", agent="support"))
    clock.time += KEPT_SECONDS + 1
    k.reclaim()
    assert k._kernel.backend.requests.find(first.id) is None


# ── expiry ──


def test_an_expired_entry_counts_until_a_recorded_change_removes_it(k: kedge.Kedge, clock: HandClock) -> None:
    first = k.ladder.tighten("frozen", "feature:support", expires=60, by="ann")
    k.ladder.tighten("supervised", "feature:support", expires=120, by="ann")
    turn = k.turn(agent="support")
    clock.time += 61
    assert turn.level == "frozen"
    assert k.recover() == [f"level frozen of feature:support lifted: entry {first.id} has expired"]
    assert (turn.level, k.recover()) == ("supervised", [])
    newest = k.log(1)[0]
    assert (newest.kind, newest.by, [each["entry"] for each in newest.detail["entries"]]) == (
        "expire", "expiry", [first.id],
    )  # fmt: skip
    clock.time += 61
    k.reclaim()
    assert (turn.level, k.ladder.list()) == ("full", [])


def test_a_member_lifts_what_has_expired(k: kedge.Kedge, clock: HandClock) -> None:
    k.ladder.tighten("frozen", "feature:support", expires=60, by="ann")
    with k.join("one", lease_seconds=0.3):
        lifted = threading.Event()
        k.on_change(lambda _: lifted.set())
        clock.time += 61
        assert lifted.wait(20)
        assert k.ladder.list() == []


def test_a_move_takes_entries_requests_and_rights_along(k: kedge.Kedge, new_place: Callable[[], str]) -> None:
    k.ladder.tighten("supervised", "feature:support", expires=1e6, reason="new", by="ann")
    k.ladder.set_presets('[frozen]\nact = {undoable = "no"}', by="ann")
    request = asked(k.turn(session="s", agent="support"))
    entries, target = k.ladder.list(), new_place()
    kedge.migrate_store(k.url, target)
    with kedge.open(target, durability="normal", clock=k._kernel.backend.clock) as moved:
        assert (moved.ladder.list(), moved.ladder.requests()) == (entries, [request])
        assert moved.ladder.presets().frozen.undoable == "no"
        moved.ladder.approve(request, by="ann")
        turn = moved.turn(session="s", agent="support")
        assert turn.require("act", tool="refund", call=CALL).approved_by == "ann"
