"""Driving a rollback from the flip to the verdict; each step is journaled, and any process can go on with it."""

import time
from collections.abc import Callable, Iterable

import msgspec

from kedge.errors import Retryable
from kedge.model import control as rules
from kedge.model.checks import check_names
from kedge.model.control import ControlRecord
from kedge.model.reconcile import RECONCILED, Reconciled, troubles
from kedge.ports.clock import lease_clock
from kedge.ports.control import Change, Entry
from kedge.recovery.converge import Convergence, wait_for_members
from kedge.recovery.purge import Progress, finish_purge
from kedge.recovery.reconcile import Wanted, Work, follow, note, wanted_by
from kedge.recovery.verify import Indicators, verify
from kedge.turns.kernel import Kernel, actor

COMMIT = "rollback"
CONVERGED = "rollback:converged"
NOT_CONVERGED = "rollback:not-converged"
VERIFIED = "rollback:verified"
FAILED = "rollback:verification-failed"
RESUMED = "rollback:resumed"
PURGE = "purge"
ERASED = "purge:erased"
RELEASE = "release-held"
_LAST_STEPS = {COMMIT: RESUMED, PURGE: ERASED}
OnStep = Callable[[str], object]
_NAMED = 3
_AGAIN = "run `kedge recover`"


class RollbackReport(msgspec.Struct, frozen=True):
    """How a rollback went. `writes_hidden` counts all that its deployments influenced, hidden before or by it."""

    deployment: str
    went_with_it: tuple[str, ...]
    operation: str
    epoch: int
    seq: int
    by: str
    reason: str
    writes_hidden: int
    indicators: Indicators | None
    convergence: Convergence | None = None
    reconciled: tuple[Reconciled, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every member has recognised it, external systems follow, and the stores were found right."""
        converged = self.convergence is not None and self.convergence.converged
        followed = all(outcome.ok for outcome in self.reconciled)
        return converged and followed and self.indicators is not None and self.indicators.ok

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        gone = ", ".join((self.deployment, *self.went_with_it))
        if self.indicators is None:
            return f"{gone}: rolled back at epoch {self.epoch}, not verified; run `kedge recover`"
        found = self.indicators
        if not found.ok and found.diverging and not found.leaks:
            held = ", ".join(found.diverging[:_NAMED])
            return (
                f"{gone}: rolled back at epoch {self.epoch}, but {len(found.diverging)} hidden writes are still held "
                f"by members, such as {held}; let them drop it, then run `kedge recover`"
            )
        if not found.ok:
            return f"{gone}: rolled back at epoch {self.epoch}, but VERIFICATION FAILED; run `kedge fsck --full`"
        late = self.convergence is not None and not self.convergence.converged and self.convergence.summary
        trouble = troubles(self.reconciled)
        if late or trouble:
            left = [f"NOT CONVERGED: {late}"] if late else []
            left += [f"NOT RECONCILED: {trouble}"] if trouble else []
            return f"{gone}: rolled back at epoch {self.epoch} and verified, but {'; '.join(left)}; {_AGAIN}"
        count = found.replay_pending_total
        waiting = f"{count} input waits" if count == 1 else f"{count} inputs wait"
        return (
            f"{gone}: rolled back at epoch {self.epoch} and verified on {found.keys_checked} keys; "
            f"{self.writes_hidden} writes hidden, {waiting} for replay{self._fleet}"
        )

    @property
    def _fleet(self) -> str:
        return f"; {self.convergence.summary}" if self.convergence is not None and self.convergence.members else ""


def roll_back(
    kernel: Kernel,
    name: str,
    *,
    reason: str,
    by: str | None,
    verified: bool = True,
    hold: Iterable[str] = (),
    wait_seconds: float | None = None,
    on_step: OnStep | None = None,
) -> RollbackReport:
    """Hide a deployment and its dependants in one compare-and-set, wait for the members, then verify the stores.

    `hold` names features that stand at the safe level from the flip until all is found right. `on_step` is told of
    each step in one sentence, once it is journaled.
    """
    tell = on_step or _tell_nobody
    features = check_names("hold", hold)
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    began = time.perf_counter()

    def decide(record: ControlRecord) -> Change:
        kernel.find(record, name, "roll back")
        after = rules.roll_back(record, name, now=kernel.backend.clock.now(), by=who)
        after = rules.hold(after, features, operation)
        gone = sorted(after.rolled_back - record.rolled_back)
        detail = {"numbers": gone, "names": sorted(kernel.names(gone))} | ({"held": features} if features else {})
        return Change(after, operation, COMMIT, who, name, reason, detail)

    _, entry = kernel.change(decide)
    commit_seconds = time.perf_counter() - began
    committed_at = lease_clock(kernel.backend.clock).elapsed()
    tell(f"committed as epoch {entry.epoch} in {commit_seconds * 1e3:.1f} ms: no reader sees any of it from here on")
    if not verified:
        return _report(kernel, entry, None)
    try:
        timing = Timing(commit_seconds, began, committed_at, wait_seconds)
        wanted = wanted_by(kernel.backend.control.load(), entry)
        return _complete(kernel, entry, wanted, timing, tell)
    except Retryable as error:  # the flip is made: to say that nothing was written would be a lie
        tell(f"not verified: {error}")
        return _report(kernel, entry, None)


def _tell_nobody(step: str) -> None:
    """Take the place of a listener where there is none."""


class Timing(msgspec.Struct, frozen=True):
    """When this process committed a rollback, on which clock; nothing of it where another did."""

    commit_seconds: float | None = None
    began: float | None = None
    committed_at: float | None = None
    wait_seconds: float | None = None


def _complete(kernel: Kernel, entry: Entry, wanted: Wanted, timing: Timing, tell: OnStep) -> RollbackReport:
    earlier = _step_of(kernel, entry, COMMIT + RECONCILED)
    with Work(kernel, {} if earlier else wanted) as work:
        convergence = _converge(kernel, entry, timing, tell)
        reconciled = work.finish(tell)
    if earlier:
        reconciled = msgspec.convert(earlier.detail["outcomes"], tuple[Reconciled, ...])
    elif reconciled:
        note(kernel, entry, reconciled, tell)
    found = verify(kernel, commit_seconds=timing.commit_seconds)
    found = msgspec.structs.replace(
        found,
        consensus_latency_seconds=convergence.seconds,
        rollback_completion_seconds=None if timing.began is None else time.perf_counter() - timing.began,
    )
    control = kernel.backend.control
    control.step(
        entry.operation,
        VERIFIED if found.ok else FAILED,
        deployment=entry.deployment,
        by=entry.by,
        detail={"ok": found.ok, "indicators": msgspec.to_builtins(found)},
    )
    tell(f"verified: {found.keys_checked} keys read back and compared with every write to them; {_outcome(found)}")
    if found.ok and convergence.converged and all(outcome.ok for outcome in reconciled):
        _release(kernel, entry, tell)
        control.step(entry.operation, RESUMED, deployment=entry.deployment, by=entry.by)
        tell("finished: nothing is left to do")
    return _report(kernel, entry, found, convergence, reconciled)


def _step_of(kernel: Kernel, entry: Entry, kind: str) -> Entry | None:
    return next((e for e in kernel.backend.control.entries(operation=entry.operation) if e.kind == kind), None)


def _converge(kernel: Kernel, entry: Entry, timing: Timing, tell: OnStep) -> Convergence:
    """Wait for the members, unless that was done before, and journal how it went: once each for well and for ill."""
    control = kernel.backend.control
    done = _step_of(kernel, entry, CONVERGED)
    if done is not None:
        return msgspec.convert(done.detail, Convergence)
    found = wait_for_members(
        kernel, entry.epoch, committed_at=timing.committed_at, wait_seconds=timing.wait_seconds, tell=tell
    )
    if found.members:  # who joins later knows of it, so that without any there is nothing to remember
        kind = CONVERGED if found.converged else NOT_CONVERGED
        detail = msgspec.to_builtins(found)
        control.step(entry.operation, kind, deployment=entry.deployment, by=entry.by, detail=detail)
        tell(f"{'converged' if found.converged else 'not converged yet'}: {found.summary}")
    return found


def _release(kernel: Kernel, entry: Entry, tell: OnStep) -> None:
    """Let go of the features that this rollback holds."""
    held = sorted(f for f, by in kernel.backend.control.load().held.items() if entry.operation in by)
    if held:
        operation = f"{entry.operation}:release"
        kernel.change(
            lambda record: Change(
                rules.release(record, entry.operation),
                operation,
                RELEASE,
                entry.by,
                entry.deployment,
                detail={"features": held},
            )
        )
        tell(f"released: {', '.join(held)}")


def _outcome(found: Indicators) -> str:
    if found.ok:
        return "all as they must be"
    held = f", and {len(found.diverging)} are still held by members" if found.diverging else ""
    return f"FAILED, {len(found.leaks)} hidden writes can still be read{held}"


def _report(
    kernel: Kernel,
    entry: Entry,
    found: Indicators | None,
    convergence: Convergence | None = None,
    reconciled: tuple[Reconciled, ...] = (),
) -> RollbackReport:
    impact = kernel.backend.impact
    hidden = impact.lineages_with(entry.detail["numbers"], kernel.backend.control.load().purged)
    names = [name for name in entry.detail["names"] if name != entry.deployment]
    return RollbackReport(
        deployment=entry.deployment or "",
        went_with_it=tuple(names),
        operation=entry.operation,
        epoch=entry.epoch,
        seq=entry.seq,
        by=entry.by,
        reason=entry.reason,
        writes_hidden=sum(count.total for count in impact.count_writes(hidden)),
        indicators=found,
        convergence=convergence,
        reconciled=reconciled,
    )


def unfinished(kernel: Kernel) -> list[Entry]:
    """Return the changes whose last step is not journaled, the oldest first."""
    return [entry for entry, _ in _unfinished(kernel)]


def _unfinished(kernel: Kernel) -> list[tuple[Entry, Wanted]]:
    """Return the unfinished changes, with what external systems must look at for the sake of each.

    That is left to the newest change that moved it, and to none where the system is no longer declared: whoever
    reconciles looks at what is pinned then.
    """
    entries = kernel.backend.control.entries()
    steps = {(entry.operation, entry.kind) for entry in entries if entry.is_step}
    record = kernel.backend.control.load()
    found, later = list[tuple[Entry, Wanted]](), set[tuple[str, str]]()
    for entry in (entry for entry in entries if not entry.is_step):
        own = {(name, key) for name, keys in wanted_by(record, entry).items() for key in keys} - later
        last = _LAST_STEPS.get(entry.kind, entry.kind + RECONCILED if own else None)
        if last is not None and (entry.operation, last) not in steps:
            found.append((entry, {name: sorted(key for n, key in own if n == name) for name, _ in own}))
        later |= own
    return found[::-1]


def recover(kernel: Kernel, *, on_step: OnStep | None = None, progress: Progress | None = None) -> list[str]:
    """Finish what a crashed process, or an external system that did not follow, left unfinished; say what was done."""
    tell = on_step or _tell_nobody
    done = []
    for entry, wanted in _unfinished(kernel):
        tell(f"{entry.kind} of {entry.deployment}, begun by {entry.by} at epoch {entry.epoch}: going on with it")
        if entry.kind == COMMIT:
            done.append(_complete(kernel, entry, wanted, Timing(), tell).verdict)
        elif entry.kind == PURGE:
            erased = finish_purge(kernel, entry, progress)
            done.append(f"{entry.deployment}: purge finished, {erased} writes erased")
        else:
            trouble = troubles(follow(kernel, entry, tell, wanted))
            outcome = f"NOT RECONCILED: {trouble}; {_AGAIN}" if trouble else "external systems follow"
            done.append(f"{entry.deployment}: {entry.kind} at epoch {entry.epoch}, {outcome}")
    return done
