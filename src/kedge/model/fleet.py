"""Members, their leases, and when a rollback has converged: decided from values and clocks that are handed in.

A lease holds on the member's own clock from the moment at which a refresh was *sent*, and only if the store stood, when
it took the refresh, at the epoch that the member had caught up with. So whoever still holds a lease at an older epoch
sent for it before the flip: a controller that has waited `patience` since it saw the flip knows that it holds no more.
No clock is ever compared with another; all that is asked of them is that they run about equally fast.
"""

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

DRIFT_BOUND = 0.001  # how much too fast or too slow any clock may run: twice what an NTP daemon may slew a clock by
MARGIN_SECONDS = 0.5  # between a member's look at its lease and what it does upon it
REFRESHES = 3  # tries before a lease runs out
LOOKS = 12  # times in a lease that a member asks for the epoch unprompted, in case a notice was lost
LOOK_SECONDS = 0.005  # between two looks at who has acknowledged, at first
LOOK_SECONDS_MAX = 0.02
LEASE_SECONDS_MAX = 86_400.0
FORGET_SECONDS = 86_400.0  # how long a member whose lease was waited out is still listed
HELD_MAX = 256  # things that a member reports to hold
NO_EPOCH = -1


class Held(msgspec.Struct, frozen=True):
    """Something that a process holds outside the stores: one write to the context, or one message of a session."""

    store: str
    key: str
    seq: int
    session: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """A member as the store knows it: the epoch that it has acknowledged, and when it last refreshed (wall time).

    `expired`: it holds no lease for certain, for one that it may have held was waited out, and it got none since.
    `code`: what it says that it runs, by agent.
    """

    uid: str
    name: str
    host: str
    pid: int
    serves: tuple[str, ...]
    lease_seconds: float
    epoch: int
    joined_at: float
    at: float
    expired: bool = False
    held: tuple[Held, ...] = ()
    code: dict[str, str] = {}


_HELD = msgspec.json.Decoder(tuple[Held, ...])


def decode_standing(row: Iterable[Any]) -> Standing:
    """Return a member from its row; `serves` is JSON text or an array."""
    uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code = row
    names = tuple(json.loads(serves) if isinstance(serves, str) else serves)
    return Standing(
        uid, name, host, pid, names, lease_seconds, epoch, joined_at, at, bool(expired), _HELD.decode(held),
        json.loads(code),
    )  # fmt: skip


class State(StrEnum):
    """How a member stands to an epoch: it has acknowledged it, may still serve an older one, or serves nothing."""

    SAFE = "safe"
    LAGGARD = "laggard"
    EXPIRED = "expired"


def patience(lease_seconds: float, drift: float = DRIFT_BOUND) -> float:
    """Return the seconds on a controller's clock after which a lease has run out on any member's.

    A lease on a slow clock lasts lease / (1 - drift) real seconds, which a fast clock counts (1 + drift) times.
    """
    return lease_seconds * (1 + drift) / (1 - drift) + MARGIN_SECONDS


# ── the member's side ──


class Refresh(msgspec.Struct, frozen=True):
    """A refresh to send: when it was made on the member's clock, and the epoch that it acknowledges."""

    sent_at: float
    epoch: int


class CatchUp(msgspec.Struct, frozen=True):
    """An epoch to catch up with, before it is acknowledged."""

    epoch: int


class Lease:
    """A member's lease on its own clock, which must count through suspend."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.epoch = NO_EPOCH
        self.until = float("-inf")
        self._due = float("-inf")
        self._is_over = False

    def holds(self, now: float) -> bool:
        """Say whether the member may serve at the epoch that it has caught up with."""
        return now < self.until

    def is_due(self, now: float) -> bool:
        """Say whether it is time for the next refresh."""
        return now >= self._due

    def send(self, now: float) -> Refresh:
        """Return a refresh to send."""
        self._due = now + self.seconds / REFRESHES
        return Refresh(now, self.epoch)

    def answered(self, refresh: Refresh, epoch: int) -> bool:
        """Take the epoch at which the store took a refresh; say whether it is one to catch up with first."""
        if epoch > refresh.epoch:
            return epoch > self.epoch
        if not self._is_over:
            self.until = max(self.until, refresh.sent_at + self.seconds)
        return False

    def caught_up(self, epoch: int) -> None:
        """Take note that this process knows the control record of an epoch, and all that hangs on it is renewed."""
        self.epoch = max(self.epoch, epoch)

    def end(self) -> None:
        """Hold no more, and ask for none; nor does the answer to what was asked count."""
        self._is_over = True
        self.until = float("-inf")
        self._due = float("inf")


def renew(lease: Lease, now: Callable[[], float], heard: int = NO_EPOCH) -> Generator[Refresh | CatchUp, int, None]:
    """Refresh a lease, and catch up and refresh again while the store is ahead.

    Whoever drives it sends each `Refresh` and answers with the store's epoch, does each `CatchUp`, and closes it where
    either fails: nothing is lost but time. With an epoch that was `heard` from the store, it catches up first: one
    refresh then does for both.
    """
    if heard > lease.epoch:
        yield CatchUp(heard)
        lease.caught_up(heard)
    while True:
        refresh = lease.send(now())
        epoch = yield refresh
        if not lease.answered(refresh, epoch):
            return
        yield CatchUp(epoch)
        lease.caught_up(epoch)


# ── the controller's side ──


class Assessment(msgspec.Struct, frozen=True):
    """The members by how they stand to an epoch."""

    safe: tuple[Standing, ...] = ()
    laggards: tuple[Standing, ...] = ()
    expired: tuple[Standing, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether every member has acknowledged, or serves nothing."""
        return not self.laggards


def state(member: Standing, epoch: int, waited_seconds: float, drift: float = DRIFT_BOUND) -> State:
    """Say how a member stands to an epoch that a controller has seen this many seconds ago."""
    if member.epoch >= epoch:
        return State.SAFE
    if member.expired or waited_seconds >= patience(member.lease_seconds, drift):
        return State.EXPIRED
    return State.LAGGARD


def assess(members: Iterable[Standing], epoch: int, waited_seconds: float, drift: float = DRIFT_BOUND) -> Assessment:
    """Sort the members by how they stand to an epoch."""
    found: dict[State, list[Standing]] = {each: [] for each in State}
    for member in members:
        found[state(member, epoch, waited_seconds, drift)].append(member)
    return Assessment(tuple(found[State.SAFE]), tuple(found[State.LAGGARD]), tuple(found[State.EXPIRED]))


class Look(msgspec.Struct, frozen=True):
    """Ask for the members as they are now: those that have not acknowledged `behind` yet, or all."""

    behind: int | None = None


class CountOut(msgspec.Struct, frozen=True):
    """Record that these members hold no lease, so that nobody waits for them again."""

    uids: tuple[str, ...]
    epoch: int


class Pause(msgspec.Struct, frozen=True):
    """Wait so long before the next look."""

    seconds: float


def converge(
    epoch: int,
    now: Callable[[], float],
    *,
    wait_seconds: float | None = None,
    drift: float = DRIFT_BOUND,
) -> Generator[Look | CountOut | Pause, Sequence[Standing], Assessment]:
    """Wait until every member has acknowledged an epoch or its lease has run out, at most `wait_seconds`.

    To be started once the flip is known to be made: the time counts from then. Whoever drives it answers each `Look`
    with the members, and does the rest. Begun anew by another process after a crash, it comes to the same end, and
    waits anew for those whose leases had not run out yet: how long they were waited for already, only the clock of the
    process that is gone could say. The journal has the time of the flip by the wall clock of the database, which an
    operator or NTP may set, and a failover exchanges for another machine's: hours may seem to have passed since a flip
    while a member still serves what was before it.
    """
    began = now()
    pause = LOOK_SECONDS
    while True:
        members = yield Look(behind=epoch)
        waited = now() - began
        found = assess(members, epoch, waited, drift)
        new = tuple(member.uid for member in found.expired if not member.expired)
        if new:  # at once, for whoever goes on after a crash need not wait for these again
            yield CountOut(new, epoch)
        if found.converged or (wait_seconds is not None and waited >= wait_seconds):
            return assess((yield Look()), epoch, waited, drift)
        yield Pause(pause)
        pause = min(2 * pause, LOOK_SECONDS_MAX)
