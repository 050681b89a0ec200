"""Convergence: waiting until every member has acknowledged a rollback, and naming those that have not."""

import time
from collections.abc import Callable

from kedge.errors import InvalidValue
from kedge.model.checks import SECONDS_MAX
from kedge.model.fleet import Assessment, CountOut, Look, Pause, Standing, converge, patience
from kedge.model.numbers import as_real
from kedge.ports.clock import lease_clock
from kedge.support.display import Value
from kedge.turns.kernel import Kernel

WAIT_MESSAGE_AFTER_SECONDS = 0.5  # of waiting: a healthy fleet takes less
WAIT_MESSAGE_EVERY_SECONDS = 10.0
NAMES_MAX = 3  # members in one sentence; the report, the log and `kedge fleet` name all


def check_wait(seconds: object) -> float:
    """Return a number of seconds, 0 or more, or raise `InvalidValue`."""
    number = as_real(seconds)
    if number is None or not 0 <= number <= SECONDS_MAX:
        raise InvalidValue(
            f"invalid wait={seconds!r}: must be seconds from 0 to {SECONDS_MAX:,}, or None to wait for every member"
        )
    return float(number)


class Laggard(Value, frozen=True):
    """A member that has not acknowledged a rollback: its last epoch, its last refresh (wall time), and the reason."""

    name: str
    host: str
    pid: int
    epoch: int
    since: float
    why: str


class Convergence(Value, frozen=True):
    """Which members acknowledged a rollback. `seconds`: from its commit to the last acknowledgement, if measured.

    It is `converged` once each member has acknowledged it or has no lease.
    """

    epoch: int
    converged: bool
    members: int
    acknowledged: int
    laggards: tuple[Laggard, ...]
    seconds: float | None

    @property
    def summary(self) -> str:
        """The outcome as a clause."""
        said = f"{self.acknowledged} of {self.members} members acknowledged"
        late = _list_names([f"{laggard.name} on {laggard.host} ({laggard.why})" for laggard in self.laggards])
        return f"{said}; did not acknowledge: {late}" if late else said


def wait_for_members(
    kernel: Kernel,
    epoch: int,
    *,
    committed_at: float | None,
    wait_seconds: float | None,
    tell: Callable[[str], object],
) -> Convergence:
    """Wait until the members acknowledge a committed epoch: at most `wait_seconds`, or until leases expire.

    `committed_at` is the lease clock's reading right after the commit, None if another process committed.
    """
    clock, fleet = lease_clock(kernel.backend.clock), kernel.backend.fleet
    began = clock.elapsed() if committed_at is None else committed_at
    members: list[Standing] = []
    late: int | None = None
    last, tell_at, is_repeat = began, began + WAIT_MESSAGE_AFTER_SECONDS, False
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
                tell(_wait_message(members, epoch, wait_seconds, now - began if is_repeat else None))
                tell_at, is_repeat = now + WAIT_MESSAGE_EVERY_SECONDS, True
            time.sleep(step.seconds)
        try:
            step = steps.send(members)
        except StopIteration as done:
            found: Assessment = done.value
            is_timed = committed_at is not None and bool(found.safe)
            return _convergence_of(found, epoch, last - began if is_timed else None)


def _wait_message(members: list[Standing], epoch: int, wait_seconds: float | None, waited: float | None) -> str:
    """Return whom this waits for and how long in all; or, if `waited` is given, how much longer."""
    late = [member for member in members if member.epoch < epoch and not member.expired]
    names = _list_names([member.name for member in late])
    longest = max((patience(member.lease_seconds) for member in late), default=0.0)
    if waited is not None:
        left = (longest if wait_seconds is None else min(longest, wait_seconds)) - waited
        return f"still waiting for {names}: at most {max(left, 0.0):.1f} s more"
    if wait_seconds is not None and wait_seconds < longest:
        return f"waiting for {names}: {wait_seconds:.1f} s as requested; their leases expire within {longest:.1f} s"
    return f"waiting for {names}: at most {longest:.1f} s, until their leases expire"


def _list_names(names: list[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _convergence_of(found: Assessment, epoch: int, seconds: float | None) -> Convergence:
    late = [_laggard(member, "may still serve the previous epoch") for member in found.laggards]
    late += [_laggard(member, "lease expired: it serves nothing") for member in found.expired]
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
