"""Purge: irreversible erasure of a rolled-back deployment's writes."""

from collections.abc import Callable
from contextlib import suppress

from kedge.errors import (
    Busy,
    ConfirmationNeeded,
    KedgeError,
    OutcomeUnknown,
    Retryable,
    SnapshotInTheWay,
    StorageFull,
    Unreachable,
)
from kedge.model import transitions
from kedge.model.control import ControlRecord
from kedge.model.unfinished import ERASED
from kedge.ports.control import Change, Entry
from kedge.recovery.policies import check_holds
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel, actor

Progress = Callable[[int, int], None]
_REASONS: dict[type[KedgeError], str] = {
    StorageFull: "the disk is full", Busy: "the database is busy", Unreachable: "the database cannot be reached",
}  # fmt: skip


class PurgeReport(Report, frozen=True):
    """What a purge erased."""

    deployment: str
    went_with_it: tuple[str, ...]
    erased_writes: int
    epoch: int

    def __str__(self) -> str:
        """Return the verdict."""
        gone = ", ".join((self.deployment, *self.went_with_it))
        return f"{gone}: purged (epoch {self.epoch}); {count(self.erased_writes, 'write')} erased"


def purge(
    kernel: Kernel, name: str, *, confirm: str | None, by: str | None, progress: Progress | None = None
) -> PurgeReport:
    """Erase all writes of a rolled-back deployment and of its dependants, for good."""
    if confirm != name:
        raise ConfirmationNeeded(
            f"refusing to purge {name!r} with confirm={confirm!r}: a purge erases writes for good; "
            f"pass confirm={name!r}"
        )
    who, operation = actor(by), kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "purge")
        after, gone = transitions.purge(record, found)
        check_free(kernel, gone, record)
        kernel.backend.erasure.check_room(kernel.backend.impact.lineages_with(gone))
        detail = {"numbers": sorted(gone), "names": sorted(kernel.names(gone))}
        return Change(after, operation, "purge", who, name, "", detail, drop_snapshots_of=tuple(sorted(gone)))

    _, entry = kernel.change(decide)
    erased = finish_purge(kernel, entry, progress)
    others = tuple(other for other in entry.detail["names"] if other != name)
    return PurgeReport(name, others, erased, entry.epoch)


def check_free(kernel: Kernel, gone: frozenset[int], record: ControlRecord) -> None:
    """Raise `SnapshotInTheWay` or `HoldInTheWay` if a snapshot or a hold keeps what these deployments wrote."""
    _check_snapshots(kernel, gone)
    check_holds(kernel, gone, record)


def _check_snapshots(kernel: Kernel, gone: frozenset[int]) -> None:
    """Raise `SnapshotInTheWay` if a named snapshot shows one of these deployments."""
    control = kernel.backend.control
    for snapshot in control.snapshots():
        if snapshot.deployment is not None:
            continue
        record = control.record_at(snapshot.seq)
        reached = gone & record.revocable
        if reached:
            names = ", ".join(map(repr, sorted(kernel.names(reached))))
            raise SnapshotInTheWay(
                f"the snapshot {snapshot.name!r} still shows {names}; "
                f"release it with `kedge snapshot --release {snapshot.name}`, then purge"
            )


def _reclaim(kernel: Kernel, lineages: list[int]) -> int:
    """Compact the collections of erased vectors; skip one if the disk has no room for the copy. Return the bytes."""
    collections = {
        counted.space for counted in kernel.backend.impact.count_writes(lineages) if counted.store == "vectors"
    }
    compactor = kernel.backend.vector_compactor
    reclaimed = 0
    if compactor is None:
        return reclaimed
    for collection in kernel.backend.vectors.collections():
        if collection.name in collections:
            with suppress(StorageFull):
                reclaimed += compactor.compact(collection, logged=False).bytes
    return reclaimed


def finish_purge(kernel: Kernel, entry: Entry, progress: Progress | None) -> int:
    """Erase the writes of a committed purge. After a crash, the same call finishes it."""
    lineages = kernel.backend.impact.lineages_with(entry.detail["numbers"])
    try:
        erased = kernel.backend.erasure.erase(lineages, progress)
        detail = {"writes": erased, "reclaimed_bytes": _reclaim(kernel, lineages)}
        kernel.backend.control.step(entry.operation, ERASED, deployment=entry.deployment, by=entry.by, detail=detail)
    except (Retryable, OutcomeUnknown) as error:  # what it says of itself is not true of the whole purge
        why = _REASONS.get(type(error), "a write failed")
        cause = f" ({str(error.__cause__).splitlines()[0]})" if str(error.__cause__ or "") else ""
        first = "free some space, then " if isinstance(error, StorageFull) else ""
        raise OutcomeUnknown(
            f"{entry.deployment!r} is purged for good (epoch {entry.epoch}), but not all of its content is erased yet, "
            f"because {why}{cause}: {first}run `kedge recover`, which erases the rest"
        ) from error
    return erased
