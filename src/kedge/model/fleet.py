"""Leases of members, and the convergence of a rollback; values and clocks are parameters.

A lease runs on the member's own clock from the moment at which its refresh was *sent*. It holds only if the store,
when it took the refresh, was at the epoch that the member had caught up with. So a member with a lease at an older
epoch sent for it before the flip: once a controller has waited `patience` since it saw the flip, that lease is over.
Clocks are never compared with one another; they only need to run at about the same rate.
"""

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from kedge.support.display import Value

DRIFT_BOUND = 0.001  # greatest error of a clock's rate: twice the slew rate of an NTP daemon
MARGIN_SECONDS = 0.5  # between the check of a lease and the action that it permits
REFRESHES = 3  # tries before a lease runs out
LOOKS = 12  # polls of the epoch in a lease, in case a notification was lost
LOOK_SECONDS = 0.005  # first pause between two polls of acknowledgements
LOOK_SECONDS_MAX = 0.02
LEASE_SECONDS_MAX = 86_400.0
FORGET_SECONDS = 86_400.0  # how long an expired member stays listed
HELD_MAX = 256  # items that a member reports as held
NO_EPOCH = -1


class Held(Value, frozen=True):
    """A write that a process holds outside the stores: of the context, or one message of a session."""

    store: str
    key: str
    seq: int
    session: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """A member as the store knows it: the epoch that it has acknowledged, and when it last refreshed (wall time).

    `expired`: it certainly holds no lease: its last one has run out, and it got none since.
    `code`: the code that it reports, by agent.
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
    """A member's state at an epoch: it has acknowledged it, may still serve an older one, or serves nothing."""

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
        """Return whether the member may serve at the epoch that it has caught up with."""
        return now < self.until

    def is_due(self, now: float) -> bool:
        """Return whether the next refresh is due."""
        return now >= self._due

    def send(self, now: float) -> Refresh:
        """Return a refresh to send."""
        self._due = now + self.seconds / REFRESHES
        return Refresh(now, self.epoch)

    def answered(self, refresh: Refresh, epoch: int) -> bool:
        """Process the epoch that answers a refresh; return whether the member must catch up with it first."""
        if epoch > refresh.epoch:
            return epoch > self.epoch
        if not self._is_over:
            self.until = max(self.until, refresh.sent_at + self.seconds)
        return False

    def caught_up(self, epoch: int) -> None:
        """Record that this process has loaded the control record of an epoch and updated what depends on it."""
        self.epoch = max(self.epoch, epoch)

    def end(self) -> None:
        """End the lease: no refresh is due, and an outstanding answer is ignored."""
        self._is_over = True
        self.until = float("-inf")
        self._due = float("inf")


def renew(lease: Lease, now: Callable[[], float], heard: int = NO_EPOCH) -> Generator[Refresh | CatchUp, int, None]:
    """Refresh a lease, and catch up and refresh again while the store is ahead.

    The driver sends each `Refresh` and answers with the store's epoch, runs each `CatchUp`, and closes the generator
    where either fails: only time is lost. With an epoch `heard` from the store it catches up first, so that one
    refresh is enough.
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
    """The members by their state at an epoch."""

    safe: tuple[Standing, ...] = ()
    laggards: tuple[Standing, ...] = ()
    expired: tuple[Standing, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether every member has acknowledged the epoch or serves nothing."""
        return not self.laggards


def state(member: Standing, epoch: int, waited_seconds: float, drift: float = DRIFT_BOUND) -> State:
    """Return a member's state at an epoch that the controller saw `waited_seconds` ago."""
    if member.epoch >= epoch:
        return State.SAFE
    if member.expired or waited_seconds >= patience(member.lease_seconds, drift):
        return State.EXPIRED
    return State.LAGGARD


def assess(members: Iterable[Standing], epoch: int, waited_seconds: float, drift: float = DRIFT_BOUND) -> Assessment:
    """Return the members by their state at an epoch."""
    found: dict[State, list[Standing]] = {each: [] for each in State}
    for member in members:
        found[state(member, epoch, waited_seconds, drift)].append(member)
    return Assessment(tuple(found[State.SAFE]), tuple(found[State.LAGGARD]), tuple(found[State.EXPIRED]))


class Look(msgspec.Struct, frozen=True):
    """Read the members: those that have not acknowledged `behind` yet, or all."""

    behind: int | None = None


class CountOut(msgspec.Struct, frozen=True):
    """Mark these members as expired, so that no controller waits for them again."""

    uids: tuple[str, ...]
    epoch: int


class Pause(msgspec.Struct, frozen=True):
    """Wait before the next look."""

    seconds: float


def converge(
    epoch: int, now: Callable[[], float], *, wait_seconds: float | None = None, drift: float = DRIFT_BOUND
) -> Generator[Look | CountOut | Pause, Sequence[Standing], Assessment]:
    """Wait until every member has acknowledged an epoch or its lease has run out, at most `wait_seconds`.

    Start it once the flip is committed: the time counts from then. The driver answers each `Look` with the members and
    runs the other steps. After a crash another process starts it again, with the same result; it waits anew for leases
    that had not run out, because only the clock of the crashed process knew how long it had waited. The time of the
    flip in the journal is no substitute: NTP or an operator may set that wall clock, and a failover replaces it with
    another machine's, so that hours seem to have passed while a member still serves the old epoch.
    """
    began = now()
    pause = LOOK_SECONDS
    while True:
        members = yield Look(behind=epoch)
        waited = now() - began
        found = assess(members, epoch, waited, drift)
        new = tuple(member.uid for member in found.expired if not member.expired)
        if new:  # at once: after a crash, nobody waits for these again
            yield CountOut(new, epoch)
        if found.converged or (wait_seconds is not None and waited >= wait_seconds):
            return assess((yield Look()), epoch, waited, drift)
        yield Pause(pause)
        pause = min(2 * pause, LOOK_SECONDS_MAX)
