"""Launches on both backends: real turns, a pilot, its lease, people's requests, and the log."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import kedge
import kedge.aio
from kedge.guard.evidence import BEGIN, DECISION, LOOK, operation_of
from kedge.guard.launch_report import LaunchEvent
from kedge.guard.pilot import LEASE_SECONDS, Pilot
from kedge.model import entries
from kedge.model.control_log import NewEntry
from kedge.model.launches import Advance, PilotLost, StoredLaunch
from kedge.support import failpoints
from tests.contract.conftest import HandClock
from tests.contract.launching import RELEASE, World
from tests.databases import NewPlace, alter, raw_rows

POSTGRES_ONE_IN = 3


@pytest.fixture
def world(k: kedge.Kedge, clock: HandClock) -> World:
    return World(k, clock)


@pytest.fixture
def bad(k: kedge.Kedge, clock: HandClock) -> World:
    return World(k, clock, canary=0.2)


def test_a_good_release_is_promoted_watched_and_settled(world: World) -> None:
    release = RELEASE | {"settle_after": "5min"}
    status = world.to(release=release)
    assert status.phase == "settled", status
    assert world.k.deployment("v2").status is kedge.Status.SETTLED
    assert world.k.guard.recompute("v2").ok
    assert any("held" in text or "holdback" in text for text in world.texts)


def test_a_bad_release_is_rolled_back_with_all_that_it_caused_and_promotions_wait(bad: World) -> None:
    status = bad.to()
    k = bad.k
    assert status.phase == "rolled back", status
    assert k.deployment("v2").status is kedge.Status.ROLLED_BACK
    assert "resolved" in k.deployment("v2").reason
    with k.turn(session="new", agent="support") as turn:
        assert turn.artifacts["support/prompt"].value == "hello"
    assert status.blocks
    # another launch is not promoted until a person says go
    bad.rates = {True: 0.99, False: 0.99}
    other = RELEASE | {"deployment": "v3"}
    waiting = bad.to("watch", release=other, looks=20)
    assert waiting.phase in ("ramp", "promoting")
    assert any("'v2' was rolled back" in why for why in waiting.why)
    assert k.guard.resume(by="ann", reason="understood") == ["v2"]
    assert bad.to("watch", release=other).phase == "watch"
    assert k.guard.resume() == []


def test_a_degraded_canary_is_supervised_at_half_the_weight(k: kedge.Kedge, clock: HandClock) -> None:
    world = World(k, clock, canary=0.0)
    release = RELEASE | {"alpha": 1e-9, "min_sessions": 1000}
    status = world.look(release)
    for _ in range(20):
        if status.level == "supervised":
            break
        world.serve(4)
        status = world.look(release)
    assert status.level == "supervised"
    assert k.deployment("v2").weight == 0.15
    (entry,) = k.ladder.list("deployment:v2")
    assert (entry.source, entry.level) == ("guard", "supervised")
    assert k.ladder.effective("support", deployment="v2") == "supervised"


# ── settings are frozen ──


def test_settings_are_in_the_log_before_the_first_session_and_do_not_change(world: World) -> None:
    world.look()
    entries = world.k._kernel.backend.control.entries(operation=operation_of("v2"))
    begin = entries[-1]
    canary = world.k._kernel.backend.control.entries_of(["v2"], ["canary"])[0]
    assert begin.kind == BEGIN
    assert begin.seq < canary.seq
    assert begin.detail["digest"].startswith("sha256:")
    with pytest.raises(kedge.InvalidValue, match="were frozen as sha256"):
        world.look(RELEASE | {"alpha": 0.2})
    assert world.look(RELEASE | {"notify": {"command": ["true"]}}).phase == "ramp"


def test_a_launch_needs_a_deployment_that_is_staged(world: World) -> None:
    plain = {key: value for key, value in RELEASE.items() if key != "artifacts"}
    with pytest.raises(kedge.UnknownName, match="stage it"):
        world.look(plain)
    world.k.deploy("v2", {"support/prompt": "other"})
    with pytest.raises(kedge.DuplicateName, match="other artifacts"):
        world.look()
    world.k.promote("v2")
    with pytest.raises(kedge.IllegalTransition, match="it is live"):
        world.look(plain)


def test_failed_gates_start_no_canary_until_they_pass(world: World) -> None:
    release = {key: value for key, value in RELEASE.items() if key != "skip_gates"}
    status = world.look(release)
    assert status.phase == "gates"
    assert any("gate drill failed" in why for why in status.why)
    assert world.k.deployment("v2").status is kedge.Status.STAGED


def test_a_plan_changes_nothing(world: World) -> None:
    before = world.k._kernel.backend.control.position().seq
    plan = world.k.guard.plan(RELEASE)
    assert plan.ok
    assert plan.digest == world.k.guard.plan(RELEASE).digest
    world.k.deploy("v2", RELEASE["artifacts"])
    staged = world.k._kernel.backend.control.position().seq
    assert world.k.guard.plan(RELEASE).gates
    assert world.k._kernel.backend.control.position().seq == staged
    assert world.k.guard.launches() == []
    assert before < staged


def test_metrics_are_declared_before_the_first_session_and_not_otherwise_than_before(world: World) -> None:
    world.look()
    assert [report.name for report in world.k.guard.metrics()] == ["resolved"]
    with world.k.turn(session="s", agent="support") as turn, pytest.warns(UserWarning, match="was refused"):
        turn.observe("resolved", "yes")
    assert world.k.guard.metrics()[0].refused == {"type": 1}
    other = RELEASE | {"deployment": "v3", "metrics": {"resolved": {"kind": "failure"}}}
    with pytest.raises(kedge.InvalidValue, match="declared otherwise"):
        world.look(other)
    assert world.k.guard.launches()[0].name == "v2"


def test_a_rollback_that_has_not_reached_a_member_holds_the_launch(world: World) -> None:
    kernel = world.k._kernel
    world.look()
    with world.k.join("m1", lease_seconds=600.0):
        member = kernel.backend.fleet.members()[0]
        world.k.deploy("bad", {"other/prompt": "x"}, canary=1.0)
        world.k.rollback("bad", wait=0.0)
        world.clock.time += 3_000
        kernel.backend.fleet.refresh(
            msgspec.structs.replace(member, uid="silent", name="silent", epoch=1, at=world.clock.time)
        )
        world.serve()
        status = world.look()
    assert any(why.startswith("ill health: ") and "silent" in why for why in status.why), status.why
    assert status.weight == 0.3


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"context.divergence": 0.05}, "context drift: context.divergence is"),
        ({"context.divergence": 0.95, "sessions.divergence": 0.05}, ""),
        ({"overlap@10.rows": 0.8}, "context drift: overlap@10.rows is 0.2"),
        ({"overlap@10.other": 0.8}, "context drift: overlap@10.other has no rows to compare"),
    ],
)
def test_a_state_beyond_its_limit_holds_the_ramp(world: World, limits: dict[str, float], said: str) -> None:
    rows = np.random.default_rng(3).normal(size=(2, 40, 3)).astype(np.float32)
    for name in ("rows", "other"):
        world.k.collection(name, dim=3)
    with world.k.turn(person="ann") as turn:
        turn.vectors("rows").upsert([f"row-{number}" for number in range(40)], rows[0])
    release = RELEASE | {"drift": limits, "min_sessions": 1, "soak": 0}
    world.look(release)
    with world.k.turn(agent="support", deployment="v2") as turn:
        turn.vectors("rows").upsert([f"row-{number}" for number in range(40)], rows[1])
    world.serve(20)
    status = world.look(release)
    found = [why for why in status.why if why.startswith("context drift: ")]
    assert [why.startswith(said) for why in found] == ([True] if said else []), status.why
    assert (status.weight == 0.3) is bool(said)
    assert world.k.guard.recompute("v2").ok


def test_no_command_and_no_address_of_a_notice_is_stored(world: World, place: str, tmp_path: Path) -> None:
    out = tmp_path / "notices"
    code = f"import sys, pathlib; p = pathlib.Path({str(out)!r}); p.open('a').write(sys.stdin.read() + '\\n')"
    world.look(RELEASE | {"notify": {"command": [sys.executable, "-c", code]}})
    (notice,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (notice["launch"], notice["text"]) == ("v2", "the gates passed; canary at 30%")
    schema = "kedge." if place.startswith("postgres") else ""
    stored = repr(raw_rows(place, f"SELECT release, state FROM {schema}launches"))
    log = repr([entry.detail for entry in world.k._kernel.backend.control.entries()])
    assert "pathlib" not in stored + log
    world.k.guard.pause("v2")
    assert len(out.read_text().splitlines()) == 1


def test_a_launch_goes_on_in_a_database_that_was_moved(world: World, place: str, new_place: NewPlace) -> None:
    while world.look().stage < 2:
        world.serve()
    before = world.k.guard.status("v2")
    world.k.close()
    target = new_place()
    kedge.migrate_store(place, target)
    with kedge.open(target, durability="normal", clock=world.clock) as moved:
        assert moved.guard.status("v2") == before
        there = World(moved, world.clock)
        there.count = world.count
        there.clock.time = time.time() + 3_600  # a move has the machine's time
        assert there.to("watch").phase == "watch", moved.guard.status("v2")
        assert moved.guard.recompute("v2").ok


def test_a_launch_can_be_awaited(place: str, clock: HandClock) -> None:
    async def main() -> tuple[str, bool]:
        async with kedge.aio.open(place, durability="normal", clock=clock) as ak:
            told: list[LaunchEvent] = []
            status = await ak.guard.launch(RELEASE, once=True, on_event=told.append)
            await ak.guard.pause("v2")
            assert [event.status.phase for event in told] == [status.phase]
            return status.phase, (await ak.guard.recompute("v2")).ok

    assert asyncio.run(main()) == ("ramp", True)


# ── people ──


def test_people_pause_resume_and_abort(world: World) -> None:
    k = world.k
    world.look()
    assert "paused by ann (lunch)" in k.guard.pause("v2", by="ann", reason="lunch").why
    for _ in range(6):
        world.serve()
        world.look()
    assert k.guard.status("v2").weight == 0.3
    assert k.guard.resume("v2", by="ann") == ["v2"]
    world.serve()
    assert world.to("watch").phase == "watch"
    assert k.guard.abort("v2", by="ann", reason="wrong text").phase == "rolled back"
    assert k.deployment("v2").reason == "aborted by ann (wrong text)"
    assert not k.guard.status("v2").blocks
    with pytest.raises(kedge.IllegalTransition, match="has ended"):
        k.guard.pause("v2")
    with pytest.raises(kedge.UnknownName, match="did you mean 'v2'"):
        k.guard.pause("v22")


def test_an_abort_can_keep_the_deployment(world: World) -> None:
    world.look()
    assert world.k.guard.abort("v2", keep=True).phase == "aborted"
    assert world.k.deployment("v2").status is kedge.Status.CANARY


def test_an_approval_is_asked_for_and_given_once(world: World) -> None:
    release = RELEASE | {"approval": True}
    world.look(release)
    with pytest.raises(kedge.IllegalTransition, match="does not wait for approval"):
        world.k.guard.approve("v2")
    assert world.to("approval", release=release).phase == "approval"
    world.look(release)
    assert world.k.deployment("v2").status is kedge.Status.CANARY
    world.k.guard.approve("v2", by="ann")
    assert world.look(release).phase == "watch"
    assert world.k.deployment("v2").holdback == pytest.approx(0.1)


def test_a_person_who_rolls_back_ends_the_launch(world: World) -> None:
    world.look()
    world.k.rollback("v2", by="ann", reason="complaints")
    status = world.look()
    assert status.phase == "rolled back"
    assert "by ann" in status.why[0]
    assert not status.blocks


# ── levels ──

STOPS = [("off", "everything"), ("supervised", "deployment:v2"), ("frozen", "feature:support")]


@pytest.mark.parametrize(("level", "scope"), STOPS, ids=[scope for _, scope in STOPS])
def test_while_a_stop_stands_a_launch_takes_no_step_forward(world: World, level: Any, scope: str) -> None:
    k = world.k
    k.deploy("v2", RELEASE["artifacts"])
    entry = k.ladder.tighten(level, scope, by="ann")
    assert world.look().phase == "gates"
    assert k.deployment("v2").status is kedge.Status.STAGED
    k.ladder.loosen(entry, by="ann")
    while world.look().stage == 0:
        world.serve()
    world.serve(80)
    entry = k.ladder.tighten(level, scope, by="ann")
    waits = [world.look() for _ in range(4)][-1]
    assert any(f"{level} for {scope} stands ({entry.id}, by ann)" in why for why in waits.why)
    assert k.deployment("v2").status is kedge.Status.CANARY
    k.ladder.loosen(entry, by="ann")
    assert world.to("watch").phase == "watch"
    assert k.guard.recompute("v2").ok


def test_a_stop_of_another_feature_and_supervision_of_everything_hold_no_launch(world: World) -> None:
    world.k.ladder.tighten("off", "feature:billing", by="ann")
    world.k.ladder.tighten("supervised", "everything", by="ann")
    assert world.to("watch").phase == "watch"


@pytest.mark.parametrize("what", ["pause", "stop"])
def test_a_promotion_that_a_dead_pilot_left_is_not_done_against_a_later_word(world: World, what: str) -> None:
    k, died = world.k, RuntimeError("died")

    def die() -> None:
        raise died

    failpoints.arm("launch:promote", die)
    with pytest.raises(RuntimeError, match="died"):
        world.to("watch")
    failpoints.disarm()
    with Pilot(k._kernel, "v2"):  # no look follows what is asked
        if what == "pause":
            k.guard.pause("v2", by="ann")
        else:
            k.ladder.tighten("off", by="ann")
    world.look()
    status = [world.look() for _ in range(8)][-1]
    assert k.deployment("v2").status is kedge.Status.CANARY, status
    if what == "pause":
        k.guard.resume("v2", by="ann")
    else:
        k.ladder.loosen(k.ladder.list("everything")[0], by="ann")
    assert world.to("watch").phase == "watch"


def test_an_agent_pauses_a_launch_and_never_lets_it_go_on(world: World) -> None:
    k, release, agent = world.k, RELEASE | {"approval": True}, "agent:support"
    world.look(release)
    assert k.guard.pause("v2", by=agent).why[0] == "paused by agent:support"
    loosening: list[Callable[[], object]] = [
        lambda: k.guard.resume("v2", by=agent),
        lambda: k.guard.resume(by=agent),
        lambda: k.guard.abort("v2", keep=True, by=agent),
    ]
    for call in loosening:
        with pytest.raises(kedge.NotPermitted, match="a person does"):
            call()
    with k.turn(session="own", agent="support"), pytest.raises(kedge.NotPermitted, match="a person does"):
        k.guard.resume("v2")
    k.guard.resume("v2", by="ann")
    assert world.to("approval", release=release).phase == "approval"
    with pytest.raises(kedge.NotPermitted, match="cannot approve the launch 'v2'"):
        k.guard.approve("v2", by=agent)
    assert k.guard.abort("v2", by=agent).phase == "rolled back"


EAGER = RELEASE | {"hold": 1.05, "degrade": 1.1, "alpha": 0.001}


def test_where_two_persons_loosen_one_does_not_resume_what_the_guard_degraded(bad: World) -> None:
    k = bad.k
    k.ladder.require_two_persons(by="ann")
    while not k.ladder.list("deployment:v2"):
        bad.look(EAGER)
        bad.serve(2)
    (entry,) = k.ladder.list("deployment:v2")
    with pytest.raises(kedge.ApprovalNeeded) as caught:
        k.guard.resume("v2", by="ann")
    assert k.ladder.list("deployment:v2") == [entry]
    k.ladder.approve(caught.value.request, by="ben")
    assert k.guard.resume("v2", by="ann") == ["v2"]
    assert entry not in k.ladder.list("deployment:v2")


def test_a_full_ladder_keeps_neither_the_guard_nor_a_hold_from_acting(bad: World) -> None:
    k, number = bad.k, 0
    for length in (100, 1):
        while True:
            number += 1
            try:
                k.ladder.tighten("frozen", f"session:{'x' * length}{number}", by="agent:support", reason="x" * length)
            except kedge.InvalidValue:
                break
    while not k.ladder.list("deployment:v2"):
        bad.look(EAGER)
        bad.serve(2)
    k.rollback("v2", hold=["support"], by="ann", reason="complaints")
    assert bad.look(EAGER).phase == "rolled back"


def test_a_level_entry_that_has_no_room_does_not_end_the_pilot(bad: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "RESERVED_BYTES", -(16 << 10))
    assert bad.to(release=EAGER).phase == "rolled back"
    assert not bad.k.ladder.list("deployment:v2")


# ── one pilot ──


def test_a_second_pilot_is_refused_and_takes_over_when_the_lease_has_run_out(world: World) -> None:
    world.look()
    kernel = world.k._kernel
    with Pilot(kernel, "v2") as first:
        with pytest.raises(kedge.PilotRuns, match=r"runs at .* until 20"):
            world.look()
        assert world.k.guard.status("v2").pilot is not None
        world.clock.time += LEASE_SECONDS * 2  # it does not renew in time
        world.serve()
        with Pilot(kernel, "v2") as second:
            second.look()
            with pytest.raises((kedge.PilotRuns, PilotLost)):
                first.look()
    assert world.k.guard.status("v2").pilot is None


def test_a_pilot_that_lost_its_lease_in_the_middle_of_a_look_changes_nothing(bad: World) -> None:
    while bad.look().sessions[0] < 3:
        bad.serve()
    bad.serve()
    bad.clock.time += 10
    kernel = bad.k._kernel
    taken: list[Any] = []

    def take_over() -> None:
        failpoints.disarm()
        bad.clock.time += LEASE_SECONDS * 2
        with Pilot(kernel, "v2") as other:
            other.look()
        taken.append(bad.k.guard.status("v2").looks)

    failpoints.arm("launch:decided", take_over)
    with Pilot(kernel, "v2") as slow, pytest.raises(PilotLost):
        slow.look()
    assert taken == [bad.k.guard.status("v2").looks]
    assert bad.k.guard.recompute("v2").ok


def test_the_port_is_a_compare_and_set_on_the_version_and_the_holder(k: kedge.Kedge, clock: HandClock) -> None:
    port = k._kernel.backend.launches
    entry = NewEntry("launch:x", LOOK, "guard")
    fresh = StoredLaunch("x", "sha256:0", b"{}", b"{}", 0, 0, "ramp", False, "", 1.0, 1.0, "ann")
    assert port.begin(fresh, NewEntry("launch:x", BEGIN, "ann"))
    assert not port.begin(fresh, NewEntry("launch:x", BEGIN, "bob"))
    one = port.acquire("x", "one", "here", 30)
    assert one is not None
    assert one.holder == "one"
    other = port.acquire("x", "two", "there", 30)
    assert other is not None
    assert other.holder == "one"
    port.advance("x", "one", 0, Advance(b"1", "ramp", False, False), entry)
    for holder, version in (("one", 0), ("two", 1)):
        with pytest.raises(PilotLost):
            port.advance("x", holder, version, Advance(b"2", "ramp", False, True), entry)
    with pytest.raises(PilotLost):
        port.mark_done("x", "two", 1)
    port.mark_done("x", "one", 1, "it failed")
    clock.time += 31
    two = port.acquire("x", "two", "there", 30)
    assert two is not None
    assert (two.holder, two.version, two.done, two.trouble, two.state) == ("two", 1, 1, "it failed", b"1")
    with pytest.raises(PilotLost):
        port.advance("x", "one", 1, Advance(b"2", "ramp", False, True), entry)
    port.release("x", "one")
    found = port.get("x")
    assert found is not None
    assert found.holder == "two"
    kinds = [each.kind for each in k._kernel.backend.control.entries(operation="launch:x")]
    assert kinds == [LOOK, BEGIN], "an entry of the log for each version, and none for what was refused"
    assert [port.ask("x", body, NewEntry("launch:x", "launch:request", "ann")) for body in (b"a", b"b")] == [1, 2]
    assert [(asked.number, asked.body) for asked in port.requests("x", 1)] == [(2, b"b")]
    assert port.acquire("nothing", "one", "here", 30) is None


# ── the log ──


def _looks(k: kedge.Kedge) -> list[Any]:
    entries = k._kernel.backend.control.entries(operation=operation_of("v2"))
    return [entry for entry in reversed(entries) if entry.kind in (LOOK, DECISION)]


def test_the_log_has_arm_share_and_value_of_each_session_and_no_name(bad: World) -> None:
    bad.to()
    looks = _looks(bad.k)
    text = json.dumps([entry.detail for entry in looks])
    assert all(f'"s{number}"' not in text for number in range(1, bad.count + 1))
    sessions = sum(len(entry.detail["units"].get("arms", "")) for entry in looks)
    assert sessions == sum(bad.k.guard.status("v2").sessions) > 20
    kinds = {entry.kind for entry in bad.k._kernel.backend.control.entries()}
    assert LOOK not in kinds, "quiet looks are not listed"
    assert DECISION in kinds


def _tampered(place: str, k: kedge.Kedge, change: Callable[[dict[str, Any]], None], at: int = -2) -> kedge.Kedge:
    entry = [entry for entry in _looks(k) if entry.detail["units"]][at]
    detail = json.loads(json.dumps(entry.detail))
    change(detail)
    text = json.dumps(detail).replace("'", "''")
    if place.startswith("postgres"):
        alter(place, f"UPDATE control_log SET detail = convert_to('{text}', 'UTF8') WHERE seq = {entry.seq}")
    else:
        alter(place, "DROP TRIGGER control_log_is_immutable")
        alter(place, f"UPDATE control_log SET detail = '{text}' WHERE seq = {entry.seq}")
    return k


def _flip(detail: dict[str, Any]) -> None:
    values = detail["units"]["values"]
    values["resolved"] = ("1" if values["resolved"][0] == "0" else "0") + values["resolved"][1:]


def _move(detail: dict[str, Any]) -> None:
    detail["units"]["shares"][0][0] += 1e-6


def _claim(detail: dict[str, Any]) -> None:
    detail["metrics"]["resolved"]["log_e"] += 1e-6


@pytest.mark.parametrize("change", [_flip, _move, _claim])
def test_recompute_fails_on_one_changed_value(place: str, bad: World, change: Callable[[dict[str, Any]], None]) -> None:
    bad.to()
    assert bad.k.guard.recompute("v2").ok
    found = _tampered(place, bad.k, change).guard.recompute("v2")
    assert not found.ok
    assert "look" in found.difference


def test_recompute_needs_the_log_alone_after_retention_and_erasure(bad: World) -> None:
    bad.to()
    k = bad.k
    for what in ("metrics", "reads", "sessions", "memory"):
        k.set_retention(3_600.0, store=what)
    bad.clock.time += 90 * 86_400
    with k.turn(agent="clerk") as turn:  # the database's time is that of its newest entry
        turn.context.put("later", 1)
    k.reclaim()
    assert not k._kernel.backend.metrics.counts(["resolved"]), "the samples are gone"
    k.purge("v2", confirm="v2")
    assert k.guard.recompute("v2").ok
    with pytest.raises(kedge.UnknownName, match="did you mean 'v2'"):
        k.guard.recompute("v")


def test_a_launch_goes_on_where_its_database_has_moved_to(world: World, new_place: Callable[[], str]) -> None:
    for _ in range(4):
        world.look()
        world.serve()
    asked = world.k.guard.pause("v2", by="ann")
    target = new_place()
    kedge.migrate_store(world.k.url, target)
    world.clock.time = time.time()  # the move has its own clock
    with kedge.open(target, durability="normal", clock=world.clock) as moved:
        there = World(moved, world.clock)
        there.count = world.count
        assert moved.guard.status("v2").sessions == asked.sessions
        assert moved.guard.status("v2").why == asked.why
        moved.guard.resume("v2", by="ann")
        assert there.to("watch").phase == "watch"
        assert moved.guard.recompute("v2").ok
