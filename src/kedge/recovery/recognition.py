"""Recognition of a level: when each member acknowledged it, and which have not."""

import time
from collections.abc import Mapping, Sequence

from kedge.model.fleet import Assessment, CountOut, Look, Pause, Standing, converge
from kedge.model.ladder import LevelEntry
from kedge.ports.clock import lease_clock
from kedge.recovery.converge import Laggard
from kedge.support.display import Report, Value, count
from kedge.turns.kernel import Kernel


class Recognition(Value, frozen=True):
    """When members acknowledged a change of level: seconds from its commit, by the clock of the process that waited.

    A member obeys the level before it acknowledges it. `by_member` names those that did; `unconfirmed` those that did
    not, with the reason: one whose lease has run out serves nothing.
    """

    epoch: int
    by_member: dict[str, float]
    unconfirmed: tuple[Laggard, ...]

    @property
    def members(self) -> int:
        """How many members there were."""
        return len(self.by_member) + len(self.unconfirmed)

    @property
    def p50(self) -> float | None:
        """The median of the seconds, or None without members."""
        return _quantile(sorted(self.by_member.values()), 0.5)

    @property
    def p99(self) -> float | None:
        """The 99th percentile of the seconds."""
        return _quantile(sorted(self.by_member.values()), 0.99)

    @property
    def slowest(self) -> float | None:
        """The seconds until the last acknowledgement."""
        return max(self.by_member.values(), default=None)

    @property
    def level_recognition_seconds(self) -> dict[str, float | None]:
        """The indicator of this name."""
        return {"p50": self.p50, "p99": self.p99, "max": self.slowest}


class RecordedStop(Report, frozen=True):
    """A recorded stop: its entry, the seconds of its commit, which members have confirmed it, and what slipped through.

    `committed_at` is the reading of the clock of leases right after the commit. `level_leaks_total` counts the acts
    that the log has after the commit, and that are stamped with an older epoch. `resembles` is an agent with artifacts
    that the feature of the scope, which has none, may be a slip of.
    """

    entry: LevelEntry
    epoch: int
    committed_at: float
    level_commit_seconds: float
    level_leaks_total: int
    recognition: Recognition
    resembles: str | None = None

    def __str__(self) -> str:
        """Return the outcome as a clause."""
        found = self.recognition
        said = f"recorded as {self.entry.id} at epoch {self.epoch} in {self.level_commit_seconds * 1e3:.0f} ms; "
        if not found.members:
            return f"{said}there are no members"
        said += f"{len(found.by_member):,} of {count(found.members, 'member')} confirmed"
        return said if found.slowest is None else f"{said}, the last after {found.slowest * 1e3:.0f} ms"


def recognize(kernel: Kernel, epoch: int, *, committed_at: float, wait_seconds: float | None) -> Recognition:
    """Wait until the members acknowledge an epoch: at most `wait_seconds`, or until leases run out.

    `committed_at` is the lease clock's reading right after the commit.
    """
    clock, fleet = lease_clock(kernel.backend.clock), kernel.backend.fleet
    times = _Times(epoch, committed_at)
    members: list[Standing] = []
    steps = converge(epoch, clock.elapsed, wait_seconds=wait_seconds)
    step: Look | CountOut | Pause = next(steps)
    while True:
        if isinstance(step, Look):
            members = fleet.members(step.behind)
            times.looked(members, clock.elapsed())
        elif isinstance(step, CountOut):
            fleet.count_out(step.uids, step.epoch)
        else:
            time.sleep(step.seconds)
        try:
            step = steps.send(members)
        except StopIteration as done:
            return times.result(done.value)


class _Times:
    """When members were first seen to have acknowledged an epoch: those that a look no longer finds behind."""

    def __init__(self, epoch: int, committed_at: float) -> None:
        self._epoch, self._committed_at = epoch, committed_at
        self._behind: set[str] | None = None
        self._first = 0.0
        self._seconds: dict[str, float] = {}

    def looked(self, members: Sequence[Standing], now: float) -> None:
        behind = {member.uid for member in members if member.epoch < self._epoch}
        waited = now - self._committed_at
        if self._behind is None:
            self._first = waited
        else:
            self._seconds |= dict.fromkeys(self._behind - behind, waited)
        self._behind = behind

    def result(self, found: Assessment) -> Recognition:
        late = [_late(member, "may still act on the level before") for member in found.laggards]
        late += [_late(member, "its lease has run out: it serves nothing") for member in found.expired]
        seconds = {member.uid: self._seconds.get(member.uid, self._first) for member in found.safe}
        return Recognition(self._epoch, _named(found.safe, seconds), tuple(late))


def _named(members: Sequence[Standing], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return seconds by the member's name; a name that several bear gets their numbers, from the second on."""
    named: dict[str, float] = {}
    for member in members:
        name, number = member.name, 1
        while name in named:
            number += 1
            name = f"{member.name} ({number})"
        named[name] = seconds[member.uid]
    return named


def _late(member: Standing, why: str) -> Laggard:
    return Laggard(member.name, member.host, member.pid, member.epoch, member.at, why)


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of all is not above."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
