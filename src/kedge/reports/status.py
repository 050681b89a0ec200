"""Status of a database: deployments, levels, members, pending replay, unfinished changes."""

import msgspec

from kedge.deployments.lifecycle import Deployment, list_revocable, show
from kedge.fleet.roster import MemberStatus, roster
from kedge.model.code import COUNTED
from kedge.model.control import ControlRecord, Level
from kedge.model.ladder import LevelEntry
from kedge.model.requests import LevelRequest
from kedge.model.retention import RetentionPolicy
from kedge.model.transitions import due
from kedge.model.upgrade import SchemaState
from kedge.ports.control import Entry
from kedge.ports.metrics import Tally
from kedge.recovery.attribution import Unattributed, slips
from kedge.recovery.maintenance import kept_back, rolled_back_before
from kedge.recovery.replay import count_pending
from kedge.recovery.rollback import unfinished
from kedge.reports.calls import unanswered_calls
from kedge.reports.disk import StoreUse, disk_use
from kedge.support.display import Report, Value, count
from kedge.turns.approvals import open_requests
from kedge.turns.kernel import Kernel
from kedge.turns.messages import verdicts
from kedge.turns.observing import refused_values

PINNING_SECONDS = 30 * 86_400.0  # rolled back for longer: worth a warning


class Unfinished(Value, frozen=True):
    """A rollback, a purge, or an unreconciled change whose last step is not journaled."""

    kind: str
    deployment: str
    operation: str
    epoch: int
    at: float
    by: str


class SystemStatus(Report, frozen=True):
    """The status. `deployments`: those that can still change, the oldest first; `settled`: the newest settled one.

    `levels`: the features that recorded level `entries` name; of these, those of this host's stop files come last;
    `requests`: what waits for a person, or is approved and not used.
    `due`: the deployments whose settle policy has passed and was not applied yet.
    `hidden_writes` counts the writes of rolled-back deployments that a reinstatement would show again. `disk` is an
    estimate, by store. `pinning`: the deployments rolled back more than 30 days ago, if nothing purges them;
    `not_purged`: those that `purge_after` would purge, and why it cannot. `slips`: what agents without artifacts wrote,
    whose names resemble one of a revocable deployment. `refused_values`: values of metrics that were refused, by
    metric, agent and reason.
    """

    url: str
    at: float
    epoch: int
    seq: int
    last_change: Entry | None
    deployments: tuple[Deployment, ...]
    settled: Deployment | None
    settled_total: int
    purged_total: int
    levels: dict[str, Level]
    sessions: int
    hidden_writes: int
    replay_pending: int
    unfinished: tuple[Unfinished, ...]
    members: tuple[MemberStatus, ...]
    snapshots: int
    collections: int
    retention_seconds: float | None
    reconcilers: dict[str, str]
    other_code: tuple[Tally, ...]
    schema: SchemaState
    is_standby: bool
    unanswered_calls: tuple[Tally, ...] = ()
    due: tuple[str, ...] = ()
    replay_pending_complete: bool = True  # else there may be more inputs: those of 1,000 turns are counted
    disk: dict[str, StoreUse] = msgspec.field(default_factory=dict)
    policies: tuple[RetentionPolicy, ...] = ()
    purge_after_seconds: float | None = None
    pinning: tuple[str, ...] = ()
    not_purged: dict[str, str] = msgspec.field(default_factory=dict)
    slips: tuple[Unattributed, ...] = ()
    refused_values: tuple[Tally, ...] = ()
    entries: tuple[LevelEntry, ...] = ()
    requests: tuple[LevelRequest, ...] = ()
    two_persons: bool = False

    def __str__(self) -> str:
        """Return the verdict."""
        counts = (
            count(len(self.deployments), "deployment"),
            count(self.hidden_writes, "hidden write"),
            f"{'' if self.replay_pending_complete else 'at least '}{count(self.replay_pending, 'input')} to replay",
            f"{count(len(self.unfinished), 'operation')} unfinished",
        )
        return f"{self.url}: epoch {self.epoch}, seq {self.seq}; {', '.join(counts)}"


def status(kernel: Kernel) -> SystemStatus:
    """Collect the status; read-only."""
    backend = kernel.backend
    record = backend.control.load()
    newest = backend.control.newest_change("settle")
    counts = backend.control.counts()
    waiting, complete = count_pending(kernel)
    return SystemStatus(
        url=backend.url,
        at=backend.clock.now(),
        epoch=record.epoch,
        seq=counts["seq"],
        last_change=backend.control.newest_change(),
        deployments=tuple(list_revocable(kernel, record)),
        settled=None if newest is None or newest.deployment is None else show(kernel, newest.deployment),
        settled_total=len(record.settled),
        purged_total=len(record.purged),
        levels=record.below_full,
        sessions=counts["sessions"],
        hidden_writes=_hidden(kernel, record),
        replay_pending=waiting,
        replay_pending_complete=complete,
        unfinished=tuple(
            Unfinished(e.kind, e.deployment or "", e.operation, e.epoch, e.at, e.by) for e in unfinished(kernel)
        ),
        members=roster(kernel),
        snapshots=len(backend.control.snapshots()),
        collections=len(backend.vectors.collections()),
        retention_seconds=record.retention_seconds,
        reconcilers=record.reconcilers,
        other_code=tuple(verdicts(kernel, COUNTED)),
        schema=backend.upgrade.state(),
        is_standby=backend.is_standby,
        unanswered_calls=tuple(unanswered_calls(kernel)),
        due=tuple(deployment.name for deployment in due(record, backend.clock.now())),
        disk=disk_use(kernel, record, counts["seq"]),
        policies=record.policies,
        purge_after_seconds=record.purge_after_seconds,
        pinning=_pinning(kernel, record),
        not_purged=kept_back(kernel, record),
        slips=slips(kernel, record),
        refused_values=tuple(refused_values(kernel)),
        entries=(*record.entries, *kernel.stop_files.entries),
        requests=tuple(open_requests(kernel)),
        two_persons=record.two_persons,
    )


def _pinning(kernel: Kernel, record: ControlRecord) -> tuple[str, ...]:
    if record.purge_after_seconds is not None:
        return ()
    return tuple(rolled_back_before(kernel, record, kernel.backend.clock.now() - PINNING_SECONDS))


def _hidden(kernel: Kernel, record: ControlRecord) -> int:
    impact = kernel.backend.impact
    return sum(total.writes for total in impact.totals(impact.lineages_with(record.rolled_back, record.purged)))


__all__ = ["SystemStatus", "Unfinished", "status"]
