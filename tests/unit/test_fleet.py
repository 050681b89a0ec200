"""Leases and convergence, decided from values and clocks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import pytest

from kedge.model import fleet
from kedge.model.fleet import (
    DRIFT_BOUND,
    MARGIN_SECONDS,
    Assessment,
    CatchUp,
    CountOut,
    Lease,
    Look,
    Pause,
    Refresh,
    Standing,
    State,
    assess,
    patience,
    renew,
    state,
)
from kedge.ports.clock import SystemClock, lease_clock

M = Standing("u", "m", "host", 1, (), 10.0, 4, joined_at=0.0, at=0.0)


def standing(uid: str, epoch: int, *, expired: bool = False, lease_seconds: float = 10.0) -> Standing:
    return msgspec.structs.replace(M, uid=uid, name=uid, epoch=epoch, expired=expired, lease_seconds=lease_seconds)


# ── a lease ──


def test_leases_are_timed_on_a_clock_that_counts_through_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", lambda which: {time.CLOCK_BOOTTIME: 17.0}.get(which, 0.0))
    assert lease_clock(SystemClock()).elapsed() == 17.0


def test_a_clock_that_cannot_time_leases_is_not_asked_to() -> None:
    class Wall:
        def now(self) -> float:
            return 0.0

        def fresh_id(self) -> str:
            return ""

    assert isinstance(lease_clock(Wall()), SystemClock)


def test_a_lease_counts_from_when_the_refresh_was_sent() -> None:
    lease = Lease(10.0)
    lease.caught_up(3)
    refresh = lease.send(100.0)
    assert not lease.holds(100.0), "nothing is answered yet"
    lease.answered(refresh, 3)  # however late
    assert lease.holds(109.9)
    assert not lease.holds(110.0)


def test_a_lease_is_not_granted_while_the_store_is_ahead() -> None:
    lease = Lease(10.0)
    lease.caught_up(3)
    assert lease.answered(lease.send(0.0), 4)
    assert not lease.holds(0.0)
    lease.caught_up(4)
    assert not lease.answered(lease.send(1.0), 4)
    assert lease.holds(10.9)


def test_an_answer_to_an_older_refresh_neither_shortens_nor_renews() -> None:
    lease = Lease(10.0)
    lease.caught_up(3)
    old, new = lease.send(0.0), lease.send(5.0)
    lease.answered(new, 3)
    lease.answered(old, 3)
    assert lease.until == 15.0
    lease.caught_up(4)
    assert not lease.answered(old, 4), "what it says is known already"
    assert lease.until == 15.0


def test_a_lease_is_refreshed_at_a_third_of_its_time() -> None:
    lease = Lease(9.0)
    assert lease.is_due(0.0)
    lease.send(0.0)
    assert not lease.is_due(2.9)
    assert lease.is_due(3.0)


def test_what_has_ended_holds_nothing_and_asks_for_nothing() -> None:
    lease = Lease(9.0)
    lease.caught_up(1)
    lease.answered(lease.send(0.0), 1)
    lease.end()
    assert not lease.holds(0.0)
    assert not lease.is_due(1e9)


def test_renewing_catches_up_until_the_store_is_no_longer_ahead() -> None:
    lease = Lease(10.0)
    lease.caught_up(1)
    clock = iter([0.0, 1.0, 2.0])
    steps = renew(lease, lambda: next(clock))
    assert next(steps) == Refresh(0.0, 1)
    assert steps.send(5) == CatchUp(5)
    assert steps.send(5) == Refresh(1.0, 5)
    assert steps.send(6) == CatchUp(6)
    assert steps.send(6) == Refresh(2.0, 6)
    with pytest.raises(StopIteration):
        steps.send(6)
    assert (lease.epoch, lease.until) == (6, 12.0)


def test_what_was_heard_is_caught_up_with_first_and_one_refresh_does() -> None:
    lease = Lease(10.0)
    lease.caught_up(1)
    steps = renew(lease, lambda: 3.0, heard=5)
    assert next(steps) == CatchUp(5)
    assert lease.epoch == 1, "nothing is acknowledged before it is done"
    assert steps.send(5) == Refresh(3.0, 5)
    with pytest.raises(StopIteration):
        steps.send(5)
    assert (lease.epoch, lease.until) == (5, 13.0)
    assert next(renew(lease, lambda: 4.0, heard=4)) == Refresh(4.0, 5), "what is known already is not caught up with"


def test_what_fails_to_catch_up_acknowledges_nothing() -> None:
    lease = Lease(10.0)
    lease.caught_up(1)
    steps = renew(lease, lambda: 0.0)
    next(steps)
    assert steps.send(2) == CatchUp(2)
    steps.close()
    assert lease.epoch == 1
    assert not lease.holds(0.0)


# ── who is safe ──


@pytest.mark.parametrize(
    ("member", "waited", "found"),
    [
        (standing("a", 5), 0.0, State.SAFE),
        (standing("a", 6), 0.0, State.SAFE),
        (standing("a", 4), 0.0, State.LAGGARD),
        (standing("a", 4), 10.0, State.LAGGARD),
        (standing("a", 4), patience(10.0), State.EXPIRED),
        (standing("a", 4, expired=True), 0.0, State.EXPIRED),
        (standing("a", 5, expired=True), 0.0, State.SAFE),
    ],
)
def test_a_member_stands_to_an_epoch(member: Standing, waited: float, found: State) -> None:
    assert state(member, 5, waited) is found


def test_patience_outlasts_a_lease_on_the_worst_pair_of_clocks() -> None:
    real = 10.0 / (1 - DRIFT_BOUND)  # seconds until a slow clock has counted ten
    counted = real * (1 + DRIFT_BOUND)  # by a fast one
    assert patience(10.0) >= counted + MARGIN_SECONDS - 1e-9
    assert patience(10.0) < 11.0


def test_all_who_are_there_are_sorted() -> None:
    members = [standing("a", 5), standing("b", 4), standing("c", 4, lease_seconds=1.0)]
    found = assess(members, 5, 2.0)
    assert [[m.uid for m in each] for each in (found.safe, found.laggards, found.expired)] == [["a"], ["b"], ["c"]]
    assert not found.converged
    assert assess([], 5, 0.0).converged


# ── waiting ──


class World:
    """A store and a clock in the hand of a test."""

    def __init__(self, *looks: Sequence[Standing]) -> None:
        self.time = 0.0
        self.counted_out: list[CountOut] = []
        self.asked: list[int | None] = []
        self._looks = iter(looks)
        self._last: Sequence[Standing] = ()

    def wait(self, epoch: int, wait_seconds: float | None = None) -> Assessment:
        steps = fleet.converge(epoch, lambda: self.time, wait_seconds=wait_seconds)
        step: Look | CountOut | Pause = next(steps)
        while True:
            match step:
                case Look():
                    self._last = next(self._looks, self._last)
                    self.asked.append(step.behind)
                case CountOut():
                    self.counted_out.append(step)
                case Pause(seconds=seconds):
                    self.time += seconds
            try:
                step = steps.send(self._last)
            except StopIteration as done:
                found: Assessment = done.value
                return found


def test_it_waits_for_acknowledgements() -> None:
    world = World([standing("a", 4)], [standing("a", 4)], [standing("a", 5)])
    assert world.wait(5).converged
    assert world.asked == [5, 5, 5, None], "all of them are asked for once"
    assert 0 < world.time < 1
    assert world.counted_out == []


def test_nobody_to_wait_for_is_no_wait() -> None:
    world = World([])
    assert world.wait(5).converged
    assert world.time == 0


def test_whose_lease_was_waited_out_is_counted_out_and_named() -> None:
    world = World([standing("a", 5), standing("b", 4)])
    found = world.wait(5)
    assert [m.uid for m in found.expired] == ["b"]
    assert patience(10.0) <= world.time < patience(10.0) + 1
    assert world.counted_out == [CountOut(("b",), 5)]


def test_who_was_counted_out_before_is_not_waited_for_again() -> None:
    world = World([standing("b", 4, expired=True)])
    assert [m.uid for m in world.wait(5).expired] == ["b"]
    assert world.time == 0
    assert world.counted_out == []


def test_a_bound_ends_the_wait_without_counting_anybody_out() -> None:
    world = World([standing("b", 4)])
    found = world.wait(5, wait_seconds=1.0)
    assert not found.converged
    assert [m.uid for m in found.laggards] == ["b"]
    assert 1.0 <= world.time < 1.1
    assert world.counted_out == []


def test_who_is_waited_out_before_the_others_is_counted_out_at_once() -> None:
    short, long = standing("a", 4, lease_seconds=1.0), standing("b", 4)
    world = World([short, long])
    assert not world.wait(5, wait_seconds=5.0).converged
    assert world.counted_out[0] == CountOut(("a",), 5), "whoever goes on need not wait for it again"


def test_who_left_is_not_waited_for() -> None:
    world = World([standing("b", 4)], [])
    assert world.wait(5).converged
    assert world.time < 1
