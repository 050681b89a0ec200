"""Driving a rollback from the flip to the verdict; each step is journaled, and any process can go on with it."""

import time
from collections.abc import Callable

import msgspec

from kedge.errors import Retryable
from kedge.kernel import Kernel, actor
from kedge.model import control as rules
from kedge.model.control import ControlRecord
from kedge.ports.ledger import Change, Entry
from kedge.recovery.purge import Progress, finish_purge
from kedge.recovery.verify import Indicators, verify

COMMIT = "rollback"
VERIFIED = "rollback:verified"
FAILED = "rollback:verification-failed"
RESUMED = "rollback:resumed"
PURGE = "purge"
ERASED = "purge:erased"
OnStep = Callable[[str], object]


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

    @property
    def ok(self) -> bool:
        """Whether the stores were verified and found right."""
        return self.indicators is not None and self.indicators.ok

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        gone = ", ".join((self.deployment, *self.went_with_it))
        if self.indicators is None:
            return f"{gone}: rolled back at epoch {self.epoch}, not verified; run `kedge recover`"
        found = self.indicators
        if not found.ok:
            return f"{gone}: rolled back at epoch {self.epoch}, but VERIFICATION FAILED; run `kedge fsck --full`"
        count = found.replay_pending_total
        waiting = f"{count} input waits" if count == 1 else f"{count} inputs wait"
        return (
            f"{gone}: rolled back at epoch {self.epoch} and verified on {found.keys_checked} keys; "
            f"{self.writes_hidden} writes hidden, {waiting} for replay"
        )


def roll_back(
    kernel: Kernel,
    name: str,
    *,
    reason: str,
    by: str | None,
    verified: bool = True,
    on_step: OnStep | None = None,
) -> RollbackReport:
    """Hide a deployment and its dependants in one compare-and-set, then verify the stores.

    `on_step` is told of each step in one sentence, once it is journaled.
    """
    tell = on_step or _tell_nobody
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    began = time.perf_counter()

    def decide(record: ControlRecord) -> Change:
        kernel.find(record, name, "roll back")
        after = rules.roll_back(record, name, now=kernel.backend.clock.now(), by=who)
        gone = sorted(after.rolled_back - record.rolled_back)
        detail = {"numbers": gone, "names": sorted(kernel.names(gone))}
        return Change(after, operation, COMMIT, who, name, reason, detail)

    _, entry = kernel.change(decide)
    commit_seconds = time.perf_counter() - began
    tell(f"committed as epoch {entry.epoch} in {commit_seconds * 1e3:.1f} ms: no reader sees any of it from here on")
    if not verified:
        return _report(kernel, entry, None)
    try:
        return _converge(kernel, entry, commit_seconds, began, tell)
    except Retryable as error:  # the flip is made: to say that nothing was written would be a lie
        tell(f"not verified: {error}")
        return _report(kernel, entry, None)


def _tell_nobody(step: str) -> None:
    """Take the place of a listener where there is none."""


def _converge(kernel: Kernel, entry: Entry, commit_seconds: float | None, began: float, tell: OnStep) -> RollbackReport:
    found = verify(kernel, commit_seconds=commit_seconds)
    found = msgspec.structs.replace(
        found, rollback_completion_seconds=time.perf_counter() - began if commit_seconds is not None else None
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
    if found.ok:
        control.step(entry.operation, RESUMED, deployment=entry.deployment, by=entry.by)
        tell("finished: nothing is left to do")
    return _report(kernel, entry, found)


def _outcome(found: Indicators) -> str:
    return "all as they must be" if found.ok else f"FAILED, {len(found.leaks)} hidden writes can still be read"


def _report(kernel: Kernel, entry: Entry, found: Indicators | None) -> RollbackReport:
    survey = kernel.backend.survey
    hidden = survey.counted(survey.lineages_with(entry.detail["numbers"], kernel.backend.control.load().purged))
    names = [name for name in entry.detail["names"] if name != entry.deployment]
    return RollbackReport(
        deployment=entry.deployment or "",
        went_with_it=tuple(names),
        operation=entry.operation,
        epoch=entry.epoch,
        seq=entry.seq,
        by=entry.by,
        reason=entry.reason,
        writes_hidden=sum(counted.puts + counted.deletes for counted in hidden),
        indicators=found,
    )


def unfinished(kernel: Kernel) -> list[Entry]:
    """Return the rollbacks and purges whose last step is not journaled, the oldest first."""
    entries = kernel.backend.control.entries()
    finished = {entry.operation for entry in entries if entry.kind in {RESUMED, ERASED}}
    return [
        entry
        for entry in reversed(entries)
        if entry.kind in {COMMIT, PURGE} and not entry.is_step and entry.operation not in finished
    ]


def recover(kernel: Kernel, *, on_step: OnStep | None = None, progress: Progress | None = None) -> list[str]:
    """Finish the rollbacks and purges that a crashed process left unfinished; say what was done."""
    tell = on_step or _tell_nobody
    done = []
    for entry in unfinished(kernel):
        tell(f"{entry.kind} of {entry.deployment}, begun by {entry.by} at epoch {entry.epoch}: going on with it")
        if entry.kind == COMMIT:
            done.append(_converge(kernel, entry, None, time.perf_counter(), tell).verdict)
        else:
            erased = finish_purge(kernel, entry, progress)
            done.append(f"{entry.deployment}: purge finished, {erased} writes erased")
    return done
