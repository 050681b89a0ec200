"""Members through public calls: leases, acknowledgements, and convergence of a rollback."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import kedge
import kedge.aio
from kedge import Kedge, LeaseExpired, Level
from kedge.errors import Busy
from kedge.model.fleet import Standing
from kedge.ports.clock import SystemClock
from kedge.recovery.rollback import _release
from tests.concurrency import fork
from tests.contract.conftest import canaried
from tests.statements import statements

POSTGRES_ONE_IN = 8
SOON = 30.0


class LeaseHandClock(SystemClock):
    """Leases run out when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0

    def elapsed(self) -> float:
        return self.time


@pytest.fixture
def lease_clock() -> LeaseHandClock:
    return LeaseHandClock()


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    """What controls: another process, as far as the store can tell."""
    with canaried(place) as opened:
        yield opened


@pytest.fixture
def m(place: str, lease_clock: LeaseHandClock) -> Iterator[Kedge]:
    """What is to be a member."""
    with kedge.open(place, durability="normal", clock=lease_clock) as opened:
        yield opened


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


class Cut:
    """The store does not answer refreshes while this is in place."""

    def __init__(self, m: Kedge, patch: pytest.MonkeyPatch) -> None:
        self.is_cut = False
        fleet = m._kernel.backend.fleet
        refresh = fleet.refresh

        def or_not(member: Standing) -> int:
            if self.is_cut:
                raise Busy("the cable is cut")
            return refresh(member)

        patch.setattr(fleet, "refresh", or_not)


@pytest.fixture
def cut(m: Kedge, monkeypatch: pytest.MonkeyPatch) -> Cut:
    return Cut(m, monkeypatch)


def lapse(cut: Cut, clock: LeaseHandClock, member: kedge.Member) -> None:
    cut.is_cut = True
    clock.time += 2 * member.lease_seconds
    assert not member.serving


def refusal(member: kedge.Member) -> str:
    with pytest.raises(LeaseExpired) as raised:
        member.check()
    return str(raised.value)


def silent(k: Kedge, name: str, lease_seconds: float = 0.2) -> Standing:
    """Enrol a member that says nothing any more."""
    now = time.time()
    standing = Standing(name, name, "elsewhere", 1, (), lease_seconds, k.epoch, joined_at=now, at=now)
    k._kernel.backend.fleet.refresh(standing)
    return standing


# ── being a member ──


def test_a_member_is_shown_until_it_leaves(m: Kedge, k: Kedge) -> None:
    assert k.members() == []
    with m.join("one", serves=["support"], lease_seconds=5) as member:
        (shown,) = k.members()
        assert (shown.name, shown.state, shown.serves, shown.epoch) == ("one", "serving", ("support",), k.epoch)
        assert shown.lease_seconds == member.lease_seconds == 5
        assert k.status().members == (shown,)
        assert (member.serving, member.epoch) == (True, k.epoch)
    assert k.members() == []
    assert not member.serving
    with pytest.raises(LeaseExpired, match=r"it has left; k\.join\(\) again"):
        member.check()
    with m.turn(agent="support") as turn:
        turn.context.put("a", 1)


def test_closing_leaves_and_joining_again_is_fine(place: str, k: Kedge) -> None:
    with kedge.open(place) as m:
        m.join("one").leave()
        m.join("two")
        assert [shown.name for shown in k.members()] == ["two"]
    assert k.members() == []


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"lease_seconds": 0}, kedge.InvalidValue, "lease_seconds=0"),
        ({"lease_seconds": 1e6}, kedge.InvalidValue, "up to 86400"),
        ({"safe_level": "full"}, kedge.InvalidValue, "'full'.*frozen, cautious, fallback, off"),
        ({"serves": "support"}, kedge.InvalidValue, r"serves='support' is not a list"),
        ({"name": ""}, kedge.InvalidValue, "the member's name is empty"),
        ({"holds": lambda: ["x"]}, kedge.InvalidValue, "'x': must be kedge.Held"),
    ],
)
def test_what_no_member_can_be(m: Kedge, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        m.join(**options)
    assert m.members() == []
    with m.turn(agent="clerk") as turn:
        turn.context.get("a")


def test_one_kedge_is_one_member(m: Kedge) -> None:
    with m.join("one"), pytest.raises(kedge.Misuse, match=r"already a member.*leave\(\) first"):
        m.join("two")


# ── the lease ──


def test_without_a_lease_nothing_is_served(m: Kedge, k: Kedge, cut: Cut, lease_clock: LeaseHandClock) -> None:
    with m.join("one") as member, m.turn(session="s", agent="support") as turn:
        turn.context.put("a", 1)
        seq = k.seq
        lapse(cut, lease_clock, member)
        for call in (
            lambda: turn.context.get("a"),
            lambda: turn.context.put("a", 2),
            lambda: turn.memory.append("user", "hello"),
            lambda: turn.observe("x", 1),
            lambda: m.turn(session="s2", agent="clerk"),
            member.check,
        ):
            with pytest.raises(LeaseExpired, match=r"member 'one'.*has run out"):
                call()
        assert k.seq == seq
        assert member.epoch is None


def test_the_level_falls_to_the_safe_one(m: Kedge, cut: Cut, lease_clock: LeaseHandClock) -> None:
    with m.join("one") as member, m.turn(agent="support") as turn:
        assert turn.level == "full"
        lapse(cut, lease_clock, member)
        assert turn.level == "frozen"


@pytest.mark.parametrize(("known", "safe"), [("off", "frozen"), ("frozen", "off"), ("full", "off")])
def test_of_two_levels_the_stricter_holds(
    m: Kedge, k: Kedge, cut: Cut, lease_clock: LeaseHandClock, known: Any, safe: Any
) -> None:
    k.set_level("support", known)
    with m.join("one", safe_level=safe) as member, m.turn(agent="support") as turn:
        lapse(cut, lease_clock, member)
        assert turn.level is Level.OFF


def test_it_comes_back_by_itself_and_says_why_it_was_gone(
    m: Kedge, k: Kedge, cut: Cut, lease_clock: LeaseHandClock
) -> None:
    with m.join("one") as member, m.turn(agent="support") as turn:
        lapse(cut, lease_clock, member)
        eventually(lambda: "the cable is cut" in refusal(member))
        k.set_level("support", "off")
        cut.is_cut = False
        lease_clock.time += member.lease_seconds
        eventually(lambda: member.serving)
        assert member.epoch == k.epoch
        assert turn.level is Level.OFF, "it came back to what is now"


def test_the_level_is_known_without_asking_the_store(m: Kedge, k: Kedge) -> None:
    with m.join("one") as member, m.turn(session="s", agent="support") as turn:
        k.set_level("support", "frozen")
        eventually(lambda: member.epoch == k.epoch)
        assert turn.level is Level.FROZEN, "it hears of a change, and looks"
        with statements(m) as sent:
            assert turn.level is Level.FROZEN
        assert sent == []
        k.rollback("v2")
        eventually(lambda: member.epoch == k.epoch)
        with pytest.raises(kedge.RolledBack):
            turn.level  # noqa: B018
        with pytest.raises(kedge.RolledBack):
            turn.level  # noqa: B018


def test_a_member_whose_notices_are_lost_looks_now_and_then(
    m: Kedge, k: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.fleet.member.LOOKS", 3_600 * 10)
    monkeypatch.setattr(m._kernel.backend, "change_hint", lambda: None)
    with m.join("one", lease_seconds=3_600) as member:
        k.set_level("support", "frozen")
        eventually(lambda: member.epoch == k.epoch)


def test_a_forked_process_holds_no_lease_and_can_join_for_itself(m: Kedge) -> None:
    with m.join("parent") as member:
        child = fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(int(SOON))
                assert "a fork of the member" in refusal(member)
                member.leave()
                with m.join("child") as joined, m.turn(agent="clerk") as turn:
                    joined.check()
                    turn.context.put("names", [shown.name for shown in m.members()])
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        member.check()
        assert m.view().context.get("names") == ["parent", "child"]
        assert [shown.name for shown in m.members()] == ["parent"]


# ── acknowledging ──


def test_an_epoch_is_acknowledged_once_the_callbacks_have_heard_of_it(m: Kedge, k: Kedge) -> None:
    acknowledged: list[tuple[int, int]] = []

    def reload(epoch: int) -> None:
        (shown,) = k.members()
        acknowledged.append((epoch, shown.epoch))
        with m.turn(agent="support") as turn:
            turn.artifacts["support/prompt"]

    with m.join("one") as member:
        m.on_change(reload)
        k.set_level("support", "frozen")
        eventually(lambda: member.epoch == k.epoch)
        eventually(lambda: k.members()[0].epoch == k.epoch)
    assert acknowledged == [(k.epoch, k.epoch - 1)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_cannot_catch_up_stops_serving(
    m: Kedge, k: Kedge, lease_clock: LeaseHandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("threading.excepthook", lambda args: told.append(str(args.exc_value)))
    broken = True

    def reload(_: int) -> None:
        if broken:
            raise ValueError("no such model")

    with m.join("one") as member:
        m.on_change(reload)
        before = k.epoch
        k.set_level("support", "frozen")
        eventually(lambda: told)
        assert member.epoch == k.members()[0].epoch == before
        lease_clock.time += member.lease_seconds
        with pytest.raises(LeaseExpired):
            member.check()
        eventually(lambda: "ValueError: no such model" in refusal(member))
        broken = False
        lease_clock.time += member.lease_seconds
        eventually(lambda: member.serving)
        assert member.epoch == k.epoch


def test_a_callback_that_does_not_return_is_named(m: Kedge, k: Kedge, lease_clock: LeaseHandClock) -> None:
    is_called, may_return = threading.Event(), threading.Event()

    def load_the_model(_: int) -> None:
        is_called.set()
        may_return.wait(SOON)

    with m.join("one") as member:
        m.on_change(load_the_model)
        k.promote("v2")
        assert is_called.wait(SOON)
        lease_clock.time += 2 * member.lease_seconds
        said = refusal(member)
        assert "load_the_model has not returned" in said
        assert "paused" not in said
        may_return.set()
        eventually(lambda: member.serving)


def test_a_callback_can_reload_in_a_turn_though_the_lease_has_run_out(
    m: Kedge, k: Kedge, cut: Cut, lease_clock: LeaseHandClock
) -> None:
    prompts: list[Any] = []

    def reload(_: int) -> None:
        with m.turn(agent="support") as turn:
            prompts.append((turn.artifacts["support/prompt"].value, turn.level))

    with m.join("one") as member:
        m.on_change(reload)
        lapse(cut, lease_clock, member)
        k.promote("v2")
        cut.is_cut = False
        lease_clock.time += member.lease_seconds
        eventually(lambda: member.serving)
    assert prompts == [("two", Level.FROZEN)]


# ── convergence ──


def test_a_rollback_waits_for_acknowledgements(m: Kedge, k: Kedge) -> None:
    with m.join("one") as member:
        report = k.rollback("v2")
        assert report.ok
        assert report.convergence is not None
        assert (report.convergence.members, report.convergence.acknowledged, report.convergence.laggards) == (1, 1, ())
        assert member.epoch == report.epoch
    assert report.indicators is not None
    latency, completion = report.indicators.consensus_latency_seconds, report.indicators.rollback_completion_seconds
    assert latency is not None
    assert completion is not None
    assert 0 < latency < completion
    assert report.verdict.endswith(f"; 1 of 1 members acknowledged (epoch {report.epoch})")


def test_without_members_nothing_is_measured(k: Kedge) -> None:
    report = k.rollback("v2")
    assert report.ok
    assert report.convergence == kedge.Convergence(report.epoch, True, 0, 0, (), None)
    assert report.indicators is not None
    assert report.indicators.consensus_latency_seconds is None


def test_a_laggard_is_waited_out_once_and_named(m: Kedge, k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedge.recovery.converge.WAIT_MESSAGE_EVERY_SECONDS", 0.1)
    dead = silent(k, "dead")
    steps: list[str] = []
    with m.join("alive"):
        report = k.rollback("v2", on_step=steps.append)
        assert report.ok
        found = report.convergence
        assert found is not None
        (laggard,) = found.laggards
        assert (laggard.name, laggard.host, laggard.epoch, laggard.since) == ("dead", "elsewhere", dead.epoch, dead.at)
        assert "lease expired" in laggard.why
        assert found.acknowledged == 1
        assert len([line for line in steps if line.startswith("waiting for dead: at most 0.7 s")]) == 1
        assert [line for line in steps if line.startswith("still waiting for dead: at most 0.")]
        assert {shown.name: shown.state for shown in k.members()} == {"dead": "expired", "alive": "serving"}
        k.reinstate("v2")
        again: list[str] = []
        assert k.rollback("v2", on_step=again.append).ok
        assert not [line for line in again if line.startswith("waiting")], "it is known to hold no lease"


def test_held_features_are_released_once_all_is_found_right(m: Kedge, k: Kedge) -> None:
    levels: list[dict[str, Level]] = []
    with m.join("one"), m.turn(session="s", agent="billing") as turn:
        report = k.rollback("v2", hold=["support", "billing"], on_step=lambda _: levels.append(k.levels()))
        assert report.ok
        assert levels[0] == {"billing": "frozen", "support": "frozen"}, "from the flip on"
        assert k.levels() == {}
        assert turn.level is Level.FULL
    assert [entry.kind for entry in reversed(k.log(5))] == [
        "rollback", "rollback:converged", "rollback:verified", "release-held", "rollback:resumed",
    ]  # fmt: skip


def test_what_has_not_converged_is_neither_finished_nor_released(m: Kedge, k: Kedge) -> None:
    silent(k, "dead")
    report = k.rollback("v2", wait=0, hold=["support"])
    assert not report.ok
    assert report.indicators is not None
    assert report.indicators.ok
    assert (
        "NOT CONVERGED: 0 of 1 members acknowledged; did not acknowledge: dead on elsewhere (may still serve"
        in report.verdict
    )
    assert [operation.kind for operation in k.status().unfinished] == ["rollback"]
    assert k.levels() == {"support": "frozen"}
    with m.turn(agent="support") as turn, pytest.raises(kedge.Frozen):
        turn.context.put("a", 1)
    (verdict,) = k.recover()
    assert "0 of 1 members acknowledged; did not acknowledge: dead on elsewhere (lease expired" in verdict
    assert k.levels() == {}
    assert k.status().unfinished == ()


def test_what_has_converged_is_not_waited_for_again(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    silent(k, "dead")
    with monkeypatch.context() as patch:
        patch.setattr("kedge.recovery.rollback.verify", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            k.rollback("v2", hold=["support"])
    k._kernel.backend.fleet.leave("dead")
    silent(k, "another", lease_seconds=3600)
    (verdict,) = k.recover()
    assert "0 of 1 members acknowledged; did not acknowledge: dead" in verdict, "as it was journaled"
    assert k.levels() == {}


def test_a_feature_that_two_rollbacks_hold_is_released_by_the_last(k: Kedge) -> None:
    k.deploy("v3", {"billing/prompt": "x"}, canary=1.0)
    silent(k, "dead")
    assert not k.rollback("v2", wait=0, hold=["support"]).ok
    assert not k.rollback("v3", wait=0, hold=["support"]).ok
    k._kernel.backend.fleet.leave("dead")
    first, second = reversed([e for e in k.log() if e.kind == "rollback"])
    _release(k._kernel, first, str)
    assert k.levels() == {"support": "frozen"}
    _release(k._kernel, second, str)
    assert k.levels() == {}


def test_an_operator_lifts_a_hold_by_its_entry_and_not_by_the_short_form(k: Kedge) -> None:
    silent(k, "dead")
    k.rollback("v2", wait=0, hold=["support"], by="joe", reason="wrong answers")
    k.set_level("support", "off", by="ann")
    k.set_level("support", "full", by="ann")
    assert k.levels() == {"support": "frozen"}, "what the rollback holds stays"
    (hold,) = k.ladder.list("feature:support")
    assert (hold.source, hold.by, hold.reason, hold.level) == ("rollback", "joe", "wrong answers", "frozen")
    assert k.ladder.loosen(hold, reason="seen and understood", by="ann") == hold
    assert (k.levels(), k.ladder.list()) == ({}, [])


def test_what_members_hold_is_compared_with_what_is_visible(m: Kedge, k: Kedge) -> None:
    with m.turn(session="s", agent="support") as turn:
        bad = turn.context.put("case/1", "bad")
        said = turn.memory.append("assistant", "bad")
    with m.turn(person="ann", session="s") as turn:
        good = turn.context.put("case/2", "good")
        turn.context.put("case/2", "better")
        heard = turn.memory.append("user", "hello")
    held = [
        kedge.Held("context", "case/1", bad, "s"),
        kedge.Held("context", "case/2", good),
        kedge.Held("memory", "", said, "s"),
        kedge.Held("memory", "", heard, "s"),
    ]
    with m.join("one", holds=lambda: held):
        indicators = k.verify()
        assert indicators.diverging == (), "while it is a canary, both are what the session sees"
        report = k.rollback("v2")
        assert not report.ok
        assert report.indicators is not None
        assert report.indicators.diverging == (f"one: context case/1 (seq {bad})", f"one: memory s (seq {said})")
        assert report.indicators.context_divergence_ratio
        assert report.indicators.memory_divergence_ratio
        assert "members still hold 2 hidden writes" in report.verdict
        assert k.status().unfinished
        del held[2], held[0]
        k.set_level("x", "frozen")  # each acknowledgement says anew what is held
        eventually(lambda: k.members()[0].holds == 2)
        k.recover()
        assert k.status().unfinished == ()
        assert k.verify().ok


@pytest.mark.parametrize("wait", [-1, True, "1"])
def test_a_wait_is_a_number_of_seconds(k: Kedge, wait: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="wait="):
        k.rollback("v2", wait=wait)
    with pytest.raises(kedge.InvalidValue, match="hold='support' is not a list"):
        k.rollback("v2", hold="support")
    assert k.deployment("v2").status == "canary"


def test_a_member_is_awaited(place: str, k: Kedge) -> None:
    async def story() -> None:
        async with kedge.aio.open(place) as m:
            async with await m.join("one", serves=["support"]) as member:
                assert member.serving
                assert member.name == "one"
                await member.check()
                convergence = (await m.rollback("v2")).convergence
                assert convergence is not None
                assert convergence.acknowledged == 1
                with pytest.raises(AttributeError, match="no 'leaf'"):
                    await member.leaf()  # type: ignore[attr-defined]
            assert await m.members() == []

    asyncio.run(asyncio.wait_for(story(), SOON))
    assert msgspec.to_builtins(k.members()) == []


def test_a_refresh_that_comes_after_leaving_leaves_nobody_behind(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedge.fleet.member.LEAVE_SECONDS", 0.1)
    member = k.join("one", lease_seconds=0.3)
    fleet = k._kernel.backend.fleet
    refresh = fleet.refresh
    is_sent, may_arrive = threading.Event(), threading.Event()

    def late(standing: Standing) -> int:
        is_sent.set()
        may_arrive.wait(SOON)
        return refresh(standing)

    monkeypatch.setattr(fleet, "refresh", late)
    assert is_sent.wait(SOON)
    member.leave()
    may_arrive.set()
    member._thread.join(SOON)
    assert k.members() == []
    assert not member.serving
