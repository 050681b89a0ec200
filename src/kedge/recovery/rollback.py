"""Rollback, from the commit to the verdict. Each step is journaled, so that any process can resume it."""

import time
from collections.abc import Callable, Iterable

import msgspec

from kedge.deployments import level_expiry
from kedge.errors import Retryable
from kedge.model import entries, transitions
from kedge.model.checks import check_names
from kedge.model.control import ControlRecord
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource
from kedge.model.levels import SAFE_LEVEL
from kedge.model.reconcile import RECONCILED, Reconciled, troubles
from kedge.model.unfinished import FINISHED, PURGE, RESUMED, ROLLBACK, SUPERSEDED
from kedge.model.upgrade import GUARD_SINCE
from kedge.ports.clock import lease_clock
from kedge.ports.control import Change, Entry
from kedge.recovery.attribution import omissions
from kedge.recovery.converge import Convergence, wait_for_members
from kedge.recovery.purge import Progress, finish_purge
from kedge.recovery.reconcile import Reconciliation, Wanted, follow, moved_by, note
from kedge.recovery.rollback_report import RollbackReport
from kedge.recovery.verify import Indicators, verify
from kedge.turns.kernel import Kernel, actor, check_reason

COMMIT = ROLLBACK
CONVERGED = "rollback:converged"
NOT_CONVERGED = "rollback:not-converged"
VERIFIED = "rollback:verified"
FAILED = "rollback:verification-failed"
REINSTATE = "reinstate"
RELEASE = "release-held"
OnStep = Callable[[str], object]
_EXAMPLES_MAX = 3
_AGAIN = "run `kedge recover`"


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
    operation: str | None = None,
) -> RollbackReport:
    """Hide a deployment and its dependants in one compare-and-set, wait for the members, then verify the stores.

    `hold` names features that stay at the safe level from the commit until everything is verified. `on_step` gets one
    sentence a step, once the step is journaled. `operation`: an id of the caller's own, for a change that is made once.
    """
    tell = on_step or _ignore
    features = check_names("hold", hold)
    check_reason(reason)
    who, operation = actor(by), operation or kernel.backend.clock.fresh_id()
    began = time.perf_counter()

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "roll back")
        after = transitions.roll_back(record, found, now=kernel.backend.clock.now(), by=who)
        after = entries.hold(after, features, operation, _hold_entry(kernel, who, reason, operation))
        gone = sorted(after.rolled_back - record.rolled_back)
        detail = {"numbers": gone, "names": sorted(kernel.names(gone))} | ({"held": features} if features else {})
        return Change(after, operation, COMMIT, who, name, reason, detail)

    _, entry = kernel.change(decide)
    commit_seconds = time.perf_counter() - began
    committed_at = lease_clock(kernel.backend.clock).elapsed()
    tell(f"committed in {commit_seconds * 1e3:.1f} ms: readers no longer see it (epoch {entry.epoch})")
    if not verified:
        return _report(kernel, entry, None)
    try:
        timing = Timing(commit_seconds, began, committed_at, wait_seconds)
        wanted = moved_by(kernel.backend.control.load(), entry)
        return _complete(kernel, entry, wanted, timing, tell)
    except Retryable as error:  # the rollback is committed: this error would say that nothing was written
        tell(f"not verified: {error}")
        return _report(kernel, entry, None)


def _hold_entry(kernel: Kernel, by: str, reason: str, operation: str) -> LevelEntry | None:
    """Return who holds features, and why; None where older processes, which know neither, can still write."""
    if not kernel.has_fence(GUARD_SINCE):
        return None
    now = kernel.backend.clock.now()
    return LevelEntry("", EVERYTHING, SAFE_LEVEL, LevelSource.ROLLBACK, by, reason, now, operation=operation)


def _ignore(step: str) -> None:
    """Ignore a step, because there is no listener."""


class Timing(msgspec.Struct, frozen=True):
    """When this process committed a rollback, on its clocks; None where another process did."""

    commit_seconds: float | None = None
    began: float | None = None
    committed_at: float | None = None
    wait_seconds: float | None = None


def _complete(kernel: Kernel, entry: Entry, wanted: Wanted, timing: Timing, tell: OnStep) -> RollbackReport:
    if (later := reinstatement_of(kernel, entry)) is not None:
        return _superseded(kernel, entry, later, tell)
    earlier = _step_of(kernel, entry, COMMIT + RECONCILED)
    with Reconciliation(kernel, {} if earlier else wanted) as work:
        convergence = _converge(kernel, entry, timing, tell)
        reconciled = work.finish(tell)
    if earlier:
        reconciled = msgspec.convert(earlier.detail["outcomes"], tuple[Reconciled, ...])
    elif reconciled:
        note(kernel, entry, reconciled, tell)
    if (later := reinstatement_of(kernel, entry)) is not None:
        return _superseded(kernel, entry, later, tell)
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
    tell(_verification(found))
    if found.ok and convergence.converged and all(outcome.ok for outcome in reconciled):
        _release(kernel, entry, tell)
        last = RESUMED if entry.detail.get("held") else FINISHED
        control.step(entry.operation, last, deployment=entry.deployment, by=entry.by)
        tell("finished")
    return _report(kernel, entry, found, convergence, reconciled)


def reinstatement_of(kernel: Kernel, rollback: Entry) -> Entry | None:
    """Return the first reinstatement of a rollback's deployment after it, or None."""
    entries = kernel.backend.control.entries_of([rollback.deployment or ""])
    return min((e for e in entries if e.seq > rollback.seq and e.kind == REINSTATE), key=lambda e: e.seq, default=None)


def end_superseded(kernel: Kernel, rollback: Entry, reinstatement: Entry) -> None:
    """Journal that a reinstatement ended the steps of a rollback."""
    kernel.backend.control.step(
        rollback.operation,
        SUPERSEDED,
        deployment=rollback.deployment,
        by=reinstatement.by,
        detail={"operation": reinstatement.operation, "epoch": reinstatement.epoch},
    )


def _superseded(kernel: Kernel, entry: Entry, later: Entry, tell: OnStep) -> RollbackReport:
    _release(kernel, entry, tell)
    if _step_of(kernel, entry, SUPERSEDED) is None:
        end_superseded(kernel, entry, later)
    said = f"reinstated by {later.by} (epoch {later.epoch})"
    tell(f"superseded: {said}")
    return msgspec.structs.replace(_report(kernel, entry, None), superseded=said)


def _step_of(kernel: Kernel, entry: Entry, kind: str) -> Entry | None:
    return next((e for e in kernel.backend.control.entries(operation=entry.operation) if e.kind == kind), None)


def _converge(kernel: Kernel, entry: Entry, timing: Timing, tell: OnStep) -> Convergence:
    """Wait for the members, unless an earlier run did. Journal success once, and failure once."""
    control = kernel.backend.control
    done = _step_of(kernel, entry, CONVERGED)
    if done is not None:
        return msgspec.convert(done.detail, Convergence)
    found = wait_for_members(
        kernel, entry.epoch, committed_at=timing.committed_at, wait_seconds=timing.wait_seconds, tell=tell
    )
    if found.members:  # without members there is nothing to record: later members join at this epoch or after
        kind = CONVERGED if found.converged else NOT_CONVERGED
        detail = msgspec.to_builtins(found)
        control.step(entry.operation, kind, deployment=entry.deployment, by=entry.by, detail=detail)
        tell(f"{'converged' if found.converged else 'not converged yet'}: {found.summary}")
    return found


def _release(kernel: Kernel, entry: Entry, tell: OnStep) -> None:
    """Release the features that this rollback holds."""
    held = entries.of_operations(kernel.backend.control.load(), (entry.operation,))
    if held:
        operation, names = f"{entry.operation}:release", sorted(one.scope.name for one in held)

        def decide(record: ControlRecord) -> Change:
            after = transitions.next_epoch(record)
            after = entries.without(after, entries.of_operations(after, (entry.operation,)))
            return Change(after, operation, RELEASE, entry.by, entry.deployment, detail={"features": names})

        kernel.change(decide)
        tell(f"released: {', '.join(names)}")


def _verification(found: Indicators) -> str:
    compared = f"{found.keys_checked} keys compared with all writes to them"
    if found.ok:
        return f"verified: {compared}; all correct"
    held = f", members still hold {len(found.diverging)}" if found.diverging else ""
    return f"verification FAILED: {compared}; readers still see {len(found.leaks)} hidden writes{held}"


def _report(
    kernel: Kernel,
    entry: Entry,
    found: Indicators | None,
    convergence: Convergence | None = None,
    reconciled: tuple[Reconciled, ...] = (),
) -> RollbackReport:
    impact = kernel.backend.impact
    record = kernel.backend.control.load()
    hidden = impact.lineages_with(entry.detail["numbers"], record.purged)
    names = [name for name in entry.detail["names"] if name != entry.deployment]
    number = next((d.number for d in record.deployments if d.name == entry.deployment), 0)
    left = omissions(kernel, record, number)
    return RollbackReport(
        deployment=entry.deployment or "",
        went_with_it=tuple(names),
        operation=entry.operation,
        epoch=entry.epoch,
        seq=entry.seq,
        by=entry.by,
        reason=entry.reason,
        writes_hidden=sum(total.writes for total in impact.totals(hidden)),
        indicators=found,
        convergence=convergence,
        reconciled=reconciled,
        unattributed=left.writes,
        unknown_turns=left.unknown_turns,
    )


def unfinished(kernel: Kernel) -> list[Entry]:
    """Return the changes whose last step is not journaled, the oldest first."""
    return [entry for entry, _ in open_work(kernel)]


def unfinished_of(kernel: Kernel, name: str, *, before: int) -> list[Entry]:
    """Return the unfinished rollbacks of a deployment that were committed before a seq."""
    found = (entry for entry, _ in kernel.backend.control.unfinished())
    return [entry for entry in found if (entry.kind, entry.deployment) == (COMMIT, name) and entry.seq < before]


def open_work(kernel: Kernel) -> list[tuple[Entry, Wanted]]:
    """Return the unfinished changes, the oldest first, and which external systems must follow each.

    Systems that are no longer declared are left out.
    """
    declared = kernel.backend.control.load().reconcilers
    found = [
        (entry, {name: keys for name, keys in wanted.items() if name in declared})
        for entry, wanted in kernel.backend.control.unfinished()
    ]
    return [(entry, wanted) for entry, wanted in found if wanted or entry.kind in {COMMIT, PURGE}]


def recover(kernel: Kernel, *, on_step: OnStep | None = None, progress: Progress | None = None) -> list[str]:
    """Finish what a crash, or an external system that did not follow, left unfinished; return one sentence a change."""
    tell = on_step or _ignore
    done = []
    for entry, wanted in open_work(kernel):
        tell(f"{entry.deployment}: resuming the {entry.kind} that {entry.by} began (epoch {entry.epoch})")
        if entry.kind == COMMIT:
            done.append(_complete(kernel, entry, wanted, Timing(), tell).verdict)
        elif entry.kind == PURGE:
            erased = finish_purge(kernel, entry, progress)
            done.append(f"{entry.deployment}: purge finished, {erased} writes erased")
        else:
            trouble = troubles(follow(kernel, entry, tell, wanted))
            outcome = f"NOT RECONCILED: {trouble}; {_AGAIN}" if trouble else "external systems reconciled"
            done.append(f"{entry.deployment}: {entry.kind}, {outcome} (epoch {entry.epoch})")
    expired = level_expiry.expire_due(kernel)
    return done + [f"level {one.level} of {one.scope} lifted: entry {one.id} has expired" for one in expired]
