"""Defects planted in the protocol: the simulator finds each, and names the law that it breaks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from kedge.model import fleet
from kedge.model.fleet import Assessment, CatchUp, CountOut, Lease, Look, Pause, Refresh, Standing, State
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.testing.sim.engine import Node, World
from kedge.testing.sim.nodes import MemberNode
from kedge.testing.sim.play import Parts, play
from kedge.testing.sim.store import SimStore, Write

SEEDS = 600
Patch = pytest.MonkeyPatch


def first_violation(parts: Parts | None = None) -> str:
    """Return what the simulator says of the first seed on which it finds the defect."""
    for seed in range(SEEDS):
        found = play(seed, parts)
        if found.violation is not None:
            assert play(seed, parts).violation == found.violation, "the seed replays it"
            return found.violation
    raise AssertionError(f"not found in {SEEDS} seeds")


# ── in what members decide ──


def lease_from_the_answer(patch: Patch) -> None:
    """The lease counts from when the answer came, not from when the refresh was sent."""

    def renew(lease: Lease, now: Callable[[], float], _heard: int) -> Generator[Refresh | CatchUp, int, None]:
        while True:
            refresh = lease.send(now())
            epoch = yield refresh
            if not lease.answered(Refresh(now(), refresh.epoch), epoch):
                return
            yield CatchUp(epoch)
            lease.caught_up(epoch)

    patch.setattr(fleet, "renew", renew)


def lease_without_catching_up(patch: Patch) -> None:
    """A refresh is granted though the store was ahead."""

    def answered(lease: Lease, refresh: Refresh, epoch: int) -> bool:
        lease.until = max(lease.until, refresh.sent_at + lease.seconds)
        return epoch > lease.epoch

    patch.setattr(Lease, "answered", answered)


def acknowledged_before_caught_up(patch: Patch) -> None:
    """An epoch is acknowledged as soon as it is heard of, and caught up with afterwards."""

    def renew(lease: Lease, now: Callable[[], float], _heard: int) -> Generator[Refresh | CatchUp, int, None]:
        while True:
            refresh = lease.send(now())
            epoch = yield refresh
            if not lease.answered(refresh, epoch):
                return
            lease.caught_up(epoch)
            early = lease.send(now())
            lease.answered(early, (yield early))
            yield CatchUp(epoch)

    patch.setattr(fleet, "renew", renew)


def refreshed_is_good_enough(patch: Patch) -> None:
    """A lease is renewed by any answer, the epoch apart; and the member goes on at what it knows."""

    def renew(lease: Lease, now: Callable[[], float], _heard: int) -> Generator[Refresh | CatchUp, int, None]:
        refresh = lease.send(now())
        epoch = yield refresh
        lease.caught_up(epoch)
        lease.answered(Refresh(refresh.sent_at, epoch), epoch)

    patch.setattr(fleet, "renew", renew)


# ── in what controllers decide ──


def no_room_for_drift(patch: Patch) -> None:
    """The controller waits a lease and the margin, as if all clocks ran alike."""
    patch.setattr(fleet, "patience", lambda lease, _drift=0.0: lease + fleet.MARGIN_SECONDS)


def counted_from_before_the_flip(patch: Patch) -> None:
    """The controller counts from when it began to think of a flip, not from when it was made."""
    converge = fleet.converge

    def early(epoch: int, now: Callable[[], float], **options: Any) -> Any:
        times = iter((now() - 2.0,))
        return converge(epoch, lambda: next(times, now()), **options)

    patch.setattr(fleet, "converge", early)


def one_epoch_behind_is_close_enough(patch: Patch) -> None:
    """A member that has acknowledged the epoch before counts as safe."""
    state = fleet.state

    def lenient(member: Standing, epoch: int, waited: float, drift: float) -> State:
        return state(member, epoch - 1, waited, drift)

    patch.setattr(fleet, "state", lenient)


def gives_up_on_the_last(patch: Patch) -> None:
    """Who alone is late is not waited for."""
    patch.setattr(Assessment, "converged", property(lambda found: len(found.laggards) < 2))


def waits_for_the_dead(patch: Patch) -> None:
    """Only acknowledgements end the wait."""

    def stubborn(member: Standing, epoch: int, _waited: float, _drift: float) -> State:
        return State.SAFE if member.epoch >= epoch else State.LAGGARD

    patch.setattr(fleet, "state", stubborn)


def counts_everybody_out(patch: Patch) -> None:
    """All who are late are counted out at the first look."""

    def hasty(
        epoch: int, now: Callable[[], float], **_: Any
    ) -> Generator[Look | CountOut | Pause, Sequence[Standing], Assessment]:
        members = yield Look()
        found = fleet.assess(members, epoch, now() * 0)
        yield CountOut(tuple(member.uid for member in found.laggards), epoch)
        return found

    patch.setattr(fleet, "converge", hasty)


MODEL = [
    lease_from_the_answer,
    lease_without_catching_up,
    acknowledged_before_caught_up,
    refreshed_is_good_enough,
    no_room_for_drift,
    counted_from_before_the_flip,
    one_epoch_behind_is_close_enough,
    gives_up_on_the_last,
    waits_for_the_dead,
    counts_everybody_out,
]
ENDS = {waits_for_the_dead}


@pytest.mark.parametrize("plant", MODEL, ids=lambda plant: plant.__name__)
def test_a_defect_in_what_is_decided_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    found = first_violation()
    assert ("never ended" in found) is (plant in ENDS)
    assert "serve" in found or plant in ENDS


# ── in what a backend, a clock or a client does ──


class NeverForgives(SimStore):
    """Who was counted out stays so, whatever it acknowledges since: the next rollback does not wait for it."""

    def refresh(self, member: Standing) -> int:
        before = self.rows.get(member.uid)
        epoch = super().refresh(member)
        if before is not None and before.expired:
            self.rows[member.uid] = msgspec.structs.replace(self.rows[member.uid], expired=True)
        return epoch


class ForgivesAll(SimStore):
    """A member that joins, or refreshes, without having caught up is answered with what it says."""

    def refresh(self, member: Standing) -> int:
        super().refresh(member)
        return member.epoch


class ReadsAtAnyEpoch(SimStore):
    """A read is answered in the view that it came with, whatever has been flipped since."""

    def head(self, view: View, key: str) -> Write | None:
        return next((w for w in reversed(self.journal) if w.key == key and view.sees(w.lineage)), None)


class WashesLateWrites(SimStore):
    """What comes late loses the part of its lineage that is rolled back."""

    def append(self, view: View, key: str, lineage: Lineage, idempotency: str) -> int:
        now = msgspec.structs.replace(view, epoch=self.record.epoch)
        return super().append(now, key, lineage - self.record.rolled_back, idempotency)


class LosesWrites(SimStore):
    """One write in fifty is acknowledged and not kept."""

    def append(self, view: View, key: str, lineage: Lineage, idempotency: str) -> int:
        seq = super().append(view, key, lineage, idempotency)
        if seq % 50 == 0:
            self.journal.pop()
        return seq


class StandsStill(World):
    """Clocks stand still while their node is paused, as CLOCK_MONOTONIC does on a suspended machine."""

    def __init__(self, seed: int, store: Any) -> None:
        super().__init__(seed, store)
        self._lost: dict[str, float] = {}

    def clock(self, node: Node) -> float:
        return super().clock(node) - node.rate * self._lost.get(node.name, 0.0)

    def tell(self, *what: Any) -> None:
        if what[1:2] == ("pause",):
            self._lost[what[0]] = self._lost.get(what[0], 0.0) + what[2]
        super().tell(*what)


class NewNameEachTry(MemberNode):
    """A call whose answer was lost is repeated under another idempotency key."""

    tries = 0

    def call_name(self, name: str) -> str:
        self.tries += 1
        self._checks.true_lineage[f"{name}/{self.tries}"] = self._checks.true_lineage[name]
        return f"{name}/{self.tries}"


PARTS: Iterable[tuple[Parts, str]] = [
    (Parts(store=NeverForgives), "can serve"),
    (Parts(store=ForgivesAll), "serve"),
    (Parts(store=ReadsAtAnyEpoch), "was shown"),
    (Parts(store=WashesLateWrites), "was shown"),
    (Parts(store=LosesWrites), "is lost"),
    (Parts(world=StandsStill), "serve"),
    (Parts(member=NewNameEachTry), "written twice"),
]


@pytest.mark.parametrize(("parts", "says"), PARTS, ids=lambda value: value if isinstance(value, str) else None)
def test_a_defect_around_them_is_found(parts: Parts, says: str) -> None:
    assert says in first_violation(parts)
