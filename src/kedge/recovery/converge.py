"""Waiting until every member has recognised a rollback, and saying who has not."""

import time
from collections.abc import Callable

import msgspec

from kedge.errors import InvalidValue
from kedge.model.checks import SECONDS_MAX
from kedge.model.fleet import Assessment, CountOut, Look, Pause, Standing, converge, patience
from kedge.ports.clock import lease_clock
from kedge.turns.kernel import Kernel

TELL_AFTER_SECONDS = 0.5  # of waiting: a fleet that is well takes less
TELL_AGAIN_SECONDS = 10.0
NAMED = 3  # members in one sentence; the report, the log and `kedge fleet` name all


def check_wait(seconds: object) -> float:
    """Return a number of seconds, 0 or more, or raise `InvalidValue`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= SECONDS_MAX:
        raise InvalidValue(f"wait={seconds!r} is not a number of seconds, 0 or more; None waits for every member")
    return float(seconds)


class Laggard(msgspec.Struct, frozen=True):
    """A member that has not acknowledged a rollback: who, its last epoch and refresh (wall time), and why."""

    name: str
    host: str
    pid: int
    epoch: int
    since: float
    why: str


class Convergence(msgspec.Struct, frozen=True):
    """How the members recognised a rollback. `seconds`: from its commit to the last acknowledgement, where measured.

    It is `converged` once each has acknowledged it, or its lease has run out.
    """

    epoch: int
    converged: bool
    members: int
    acknowledged: int
    laggards: tuple[Laggard, ...]
    seconds: float | None

    @property
    def summary(self) -> str:
        """The outcome in half a sentence."""
        said = f"{self.acknowledged} of {self.members} members acknowledged"
        late = _listed([f"{laggard.name} on {laggard.host} ({laggard.why})" for laggard in self.laggards])
        return f"{said}; not {late}" if late else said


def wait_for_members(
    kernel: Kernel,
    epoch: int,
    *,
    committed_at: float | None,
    wait_seconds: float | None,
    tell: Callable[[str], object],
) -> Convergence:
    """Wait for the members to recognise an epoch that is committed; at most `wait_seconds`, or till leases run out.

    `committed_at` is the lease clock's reading right after the commit, where this process made it.
    """
    clock, fleet = lease_clock(kernel.backend.clock), kernel.backend.fleet
    began = clock.elapsed() if committed_at is None else committed_at
    members: list[Standing] = []
    late: int | None = None
    last, tell_at, is_told = began, began + TELL_AFTER_SECONDS, False
    steps = converge(epoch, clock.elapsed, wait_seconds=wait_seconds)
    step = next(steps)
    while True:
        if isinstance(step, Look):
            members = fleet.members(step.behind)
            count = sum(member.epoch < epoch for member in members)
            if late is None or count < late:
                late, last = count, clock.elapsed()
        elif isinstance(step, CountOut):
            fleet.count_out(step.uids, step.epoch)
        elif isinstance(step, Pause):
            if (now := clock.elapsed()) > tell_at:
                tell(_waiting(members, epoch, wait_seconds, now - began if is_told else None))
                tell_at, is_told = now + TELL_AGAIN_SECONDS, True
            time.sleep(step.seconds)
        try:
            step = steps.send(members)
        except StopIteration as done:
            found: Assessment = done.value
            is_timed = committed_at is not None and bool(found.safe)
            return _outcome(found, epoch, last - began if is_timed else None)


def _waiting(members: list[Standing], epoch: int, wait_seconds: float | None, waited: float | None) -> str:
    """Say who is waited for, and how long in all; or, once that was said, how long still."""
    late = [member for member in members if member.epoch < epoch and not member.expired]
    names = _listed([member.name for member in late])
    longest = max((patience(member.lease_seconds) for member in late), default=0.0)
    if waited is not None:
        left = (longest if wait_seconds is None else min(longest, wait_seconds)) - waited
        return f"still waiting for {names}, {max(left, 0.0):.1f} s more at most"
    if wait_seconds is not None and wait_seconds < longest:
        return f"waiting for {names}, for {wait_seconds:.1f} s as asked: their leases end in {longest:.1f} s at most"
    return f"waiting for {names}, at most {longest:.1f} s in all: by then their leases have run out"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _outcome(found: Assessment, epoch: int, seconds: float | None) -> Convergence:
    late = [_laggard(member, "may still serve the epoch before") for member in found.laggards]
    late += [_laggard(member, "its lease has run out: it serves nothing") for member in found.expired]
    return Convergence(
        epoch=epoch,
        converged=found.converged,
        members=len(found.safe) + len(late),
        acknowledged=len(found.safe),
        laggards=tuple(late),
        seconds=seconds,
    )


def _laggard(member: Standing, why: str) -> Laggard:
    return Laggard(member.name, member.host, member.pid, member.epoch, member.at, why)
