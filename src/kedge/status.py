"""How things stand, in one look."""

import msgspec

from kedge.deployments import Deployment, list_all
from kedge.kernel import Kernel
from kedge.model.control import ControlRecord, Level, Status
from kedge.ports.ledger import Entry
from kedge.recovery.replay import pending
from kedge.recovery.rollback import unfinished


class Standing(msgspec.Struct, frozen=True):
    """A deployment, and the change that put it where it stands: since when (Unix seconds), by whom, why."""

    name: str
    number: int
    kind: str
    status: Status
    weight: float
    since: float
    by: str
    reason: str
    bases: tuple[str, ...]
    artifacts: tuple[str, ...]
    warnings: tuple[str, ...]
    note: str


class Unfinished(msgspec.Struct, frozen=True):
    """A rollback or purge that began and whose last step is not journaled."""

    kind: str
    deployment: str
    operation: str
    epoch: int
    at: float
    by: str


class SystemStatus(msgspec.Struct, frozen=True):
    """How things stand. `deployments`: those that can still change, oldest first; `settled`: the newest settled one.

    `hidden_writes` are those that rolled-back deployments hide and a reinstatement would bring back.
    """

    url: str
    at: float
    epoch: int
    seq: int
    last_change: Entry | None
    deployments: tuple[Standing, ...]
    settled: Standing | None
    settled_total: int
    purged_total: int
    levels: dict[str, Level]
    sessions: int
    hidden_writes: int
    replay_pending: int
    unfinished: tuple[Unfinished, ...]
    snapshots: int
    collections: int
    retention_seconds: float | None


def status(kernel: Kernel) -> SystemStatus:
    """Gather how things stand. Reads only."""
    backend = kernel.backend
    record = backend.control.load()
    entries = backend.control.entries()
    standing = [_standing(deployment, entries) for deployment in list_all(kernel)]
    settled = [s for s in standing if s.status is Status.SETTLED]
    counts, counted = backend.control.counts(), _hidden(kernel, record)
    return SystemStatus(
        url=backend.url,
        at=backend.clock.now(),
        epoch=record.epoch,
        seq=counts["seq"],
        last_change=next((entry for entry in entries if not entry.is_step), None),
        deployments=tuple(s for s in standing if s.status not in {Status.SETTLED, Status.PURGED}),
        settled=max(settled, key=lambda s: s.since, default=None),
        settled_total=len(settled),
        purged_total=sum(s.status is Status.PURGED for s in standing),
        levels=dict(record.levels),
        sessions=counts["sessions"],
        hidden_writes=counted,
        replay_pending=len(pending(kernel)),
        unfinished=tuple(
            Unfinished(e.kind, e.deployment or "", e.operation, e.epoch, e.at, e.by) for e in unfinished(kernel)
        ),
        snapshots=len(backend.control.snapshots()),
        collections=len(backend.vectors.collections()),
        retention_seconds=record.retention_seconds,
    )


def _hidden(kernel: Kernel, record: ControlRecord) -> int:
    survey = kernel.backend.survey
    return sum(c.puts + c.deletes for c in survey.counted(survey.lineages_with(record.rolled_back)))


def _standing(deployment: Deployment, entries: list[Entry]) -> Standing:
    """Return a deployment with the newest change that concerned it: its own, or a base's that took it along."""
    change = next((entry for entry in entries if not entry.is_step and _concerns(entry, deployment)), None)
    return Standing(
        name=deployment.name,
        number=deployment.number,
        kind=deployment.kind,
        status=deployment.status,
        weight=deployment.weight,
        since=deployment.since if change is None else change.at,
        by=deployment.by if change is None else change.by,
        reason="" if change is None or change.kind == "stage" else change.reason,
        bases=deployment.bases,
        artifacts=deployment.artifacts,
        warnings=deployment.warnings,
        note=deployment.note,
    )


def _concerns(entry: Entry, deployment: Deployment) -> bool:
    return entry.deployment == deployment.name or deployment.number in entry.detail.get("numbers", ())


__all__ = ["Standing", "SystemStatus", "Unfinished", "status"]
