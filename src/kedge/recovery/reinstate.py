"""Reinstatement: undoing a rollback exactly, and reporting what became visible and what is left to do."""

from collections.abc import Callable

from kedge.deployments.lifecycle import Deployment, show
from kedge.errors import Retryable
from kedge.model import entries, transitions
from kedge.model.control import ControlRecord, Status
from kedge.model.reconcile import Reconciled, troubles
from kedge.ports.control import Change, Entry
from kedge.recovery.reconcile import follow
from kedge.recovery.rollback import COMMIT, REINSTATE, end_superseded, unfinished_of
from kedge.recovery.verify import Indicators, verify
from kedge.support.display import Report
from kedge.turns.kernel import Kernel, actor

OnStep = Callable[[str], object]


class ReinstateReport(Report, frozen=True):
    """The outcome of a reinstatement. `writes_visible` counts all writes that it made visible again.

    `came_back_with_it` are dependants; `still_hidden` those of them that rest on another rolled-back deployment, too.
    `released` are the features that the rollback held. `waiting` lists who has not followed yet: members that have not
    acknowledged, external systems that are not reconciled.
    """

    deployment: Deployment
    came_back_with_it: tuple[str, ...]
    still_hidden: tuple[str, ...]
    operation: str
    epoch: int
    seq: int
    by: str
    reason: str
    writes_visible: int
    released: tuple[str, ...]
    indicators: Indicators | None
    reconciled: tuple[Reconciled, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the deployment."""
        return self.deployment.name

    @property
    def status(self) -> Status:
        """The status that the deployment is back to."""
        return self.deployment.status

    @property
    def weight(self) -> float:
        """The canary weight that the deployment is back to."""
        return self.deployment.weight

    @property
    def ok(self) -> bool:
        """Whether external systems were reconciled and verification passed. Members may still have to follow."""
        return all(outcome.ok for outcome in self.reconciled) and self.indicators is not None and self.indicators.ok

    def __str__(self) -> str:
        """Return the verdict."""
        return self.verdict

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        gone = ", ".join((self.name, *self.came_back_with_it))
        said = f"{gone}: reinstated (epoch {self.epoch}), {self.status} again; {self.writes_visible} writes visible"
        if self.indicators is None:
            said += "; not verified"
        elif self.indicators.ok:
            said += f"; verified on {self.indicators.keys_checked} keys"
        else:
            said += "; VERIFICATION FAILED: run `kedge fsck --full`"
        trouble = troubles(self.reconciled)
        said += f"; NOT RECONCILED: {trouble}; run `kedge recover`" if trouble else ""
        return said + (f"; waiting for {', '.join(self.waiting)}" if self.waiting and not trouble else "")


def reinstate(
    kernel: Kernel, name: str, *, reason: str, by: str | None, verified: bool = True, on_step: OnStep | None = None
) -> ReinstateReport:
    """Undo a rollback: what it hid, and what was written hidden since, is visible again.

    In the same commit, features that the rollback holds are released. Its unfinished steps end as superseded.
    """
    who, operation = actor(by), kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "reinstate")
        after = transitions.reinstate(record, found, now=kernel.backend.clock.now(), by=who)
        ended = [e.operation for e in kernel.backend.control.entries_of([name]) if e.kind == COMMIT]
        held = entries.of_operations(record, ended)
        released = sorted({entry.scope.name for entry in held})
        back = sorted(record.rolled_back - after.rolled_back)
        detail = {"numbers": back, "names": sorted(kernel.names(back))} | ({"released": released} if released else {})
        return Change(entries.without(after, held), operation, REINSTATE, who, name, reason, detail)

    record, entry = kernel.change(decide)
    for rollback in unfinished_of(kernel, name, before=entry.seq):
        end_superseded(kernel, rollback, entry)
    reconciled = follow(kernel, entry, on_step)
    return _report(kernel, record, entry, reconciled, _verified(kernel) if verified else None)


def _verified(kernel: Kernel) -> Indicators | None:
    try:
        return verify(kernel)
    except Retryable:  # it is committed: this error would say that nothing was written
        return None


def _report(
    kernel: Kernel,
    record: ControlRecord,
    entry: Entry,
    reconciled: tuple[Reconciled, ...],
    found: Indicators | None,
) -> ReinstateReport:
    name, numbers = entry.deployment or "", entry.detail["numbers"]
    impact = kernel.backend.impact
    shown = impact.lineages_with(numbers, record.rolled_back | record.purged)
    behind = [m.name for m in kernel.backend.fleet.members() if m.epoch < entry.epoch and not m.expired]
    waiting = [f"{o.name} of {o.key} ({o.why})" for o in reconciled if not o.ok]
    waiting += [f"member {member} (it has not acknowledged epoch {entry.epoch})" for member in behind]
    number = kernel.revocable(record, name).number
    return ReinstateReport(
        deployment=show(kernel, name),
        came_back_with_it=tuple(other for other in entry.detail["names"] if other != name),
        still_hidden=tuple(sorted(kernel.names(record.dependants(number) & record.rolled_back))),
        operation=entry.operation,
        epoch=entry.epoch,
        seq=entry.seq,
        by=entry.by,
        reason=entry.reason,
        writes_visible=sum(total.writes for total in impact.totals(shown)),
        released=tuple(entry.detail.get("released", ())),
        indicators=found,
        reconciled=reconciled,
        waiting=tuple(waiting),
    )


__all__ = ["ReinstateReport", "reinstate"]
