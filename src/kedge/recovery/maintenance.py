"""Maintenance pass: purges what has been rolled back for long enough, and reclaims content."""

from collections.abc import Callable

from kedge.backends.readable import agreed_now
from kedge.deployments import level_expiry
from kedge.deployments.lifecycle import list_revocable
from kedge.errors import Conflict, IllegalTransition
from kedge.model.control import ControlRecord, Status
from kedge.model.requests import KEPT_SECONDS
from kedge.ports.vectors import Reclaimed
from kedge.recovery import purge, retention
from kedge.recovery.pruning import prune
from kedge.recovery.retention import ReclaimReport
from kedge.turns.kernel import Kernel

Progress = Callable[[int, int], None]
PASS_SECONDS = 300.0  # between two passes over one database
BY = "retention"


def maintain(kernel: Kernel, progress: Progress | None = None, *, in_background: bool = False) -> ReclaimReport:
    """Purge the rolled-back deployments that are due, then reclaim and prune what the policies allow."""
    level_expiry.expire_due(kernel)
    purged, refused = _purge_due(kernel)
    stores = retention.reclaim(kernel, progress)
    kernel.backend.requests.forget(kernel.backend.clock.now() - KEPT_SECONDS)
    pruned = prune(kernel, progress, in_background=in_background)  # what the content has kept goes after it
    stores |= {name: Reclaimed(rows, 0) for name, rows in pruned.items()}
    rows, size = sum(part.rows for part in stores.values()), sum(part.bytes for part in stores.values())
    if stores:
        by_store = {store: {"writes": part.rows, "bytes": part.bytes} for store, part in stores.items()}
        detail = {"writes": rows, "bytes": size, "stores": by_store}
        kernel.backend.control.step(kernel.backend.clock.fresh_id(), "reclaimed", by=BY, detail=detail)
    return ReclaimReport(rows, size, stores, purged, refused)


def maintain_in_background(kernel: Kernel, progress: Progress) -> None:
    """Run a pass, unless a process has begun one within the last minutes. `progress` may raise to end it."""
    backend = kernel.backend
    if level_expiry.has_due(kernel):
        level_expiry.expire_due(kernel)
    if backend.control.load().needs_upkeep and backend.reclamation.claim(backend.clock.now(), PASS_SECONDS):
        report = maintain(kernel, progress, in_background=True)
        if "vectors" in report.stores and backend.vector_compactor is not None:
            for collection in backend.vectors.collections():
                backend.vector_compactor.compact(collection, progress)


def _purge_due(kernel: Kernel) -> tuple[tuple[str, ...], dict[str, str]]:
    """Purge what has been rolled back for long enough; return the names, and why others were refused."""
    purged: list[str] = []
    refused: dict[str, str] = {}
    for name in due(kernel, kernel.backend.control.load()):
        if name in purged:
            continue  # it went with another
        try:
            report = purge.purge(kernel, name, confirm=name, by=BY)
        except (Conflict, IllegalTransition) as error:  # a snapshot or a hold; or it was reinstated
            refused[name] = str(error)
        else:
            purged += [name, *report.went_with_it]
    return tuple(purged), refused


def due(kernel: Kernel, record: ControlRecord) -> list[str]:
    """Return the rolled-back deployments that are to be purged now, each with all that would go with it."""
    if record.purge_after_seconds is None:
        return []
    now = agreed_now(kernel.backend.control, kernel.backend.clock.now())
    return rolled_back_before(kernel, record, now - record.purge_after_seconds)


def kept_back(kernel: Kernel, record: ControlRecord) -> dict[str, str]:
    """Return the deployments that are due to be purged and cannot be, by name, and why."""
    refused: dict[str, str] = {}
    for name in due(kernel, record):
        number = record.find(name).number
        try:
            purge.check_free(kernel, record.dependants(number) | {number}, record)
        except Conflict as error:
            refused[name] = str(error)
    return refused


def rolled_back_before(kernel: Kernel, record: ControlRecord, moment: float) -> list[str]:
    """Return the deployments that were rolled back before a moment, as was all that rests on them."""
    if not record.rolled_back:
        return []
    revocable = list_revocable(kernel, record)
    old = {d.number: d for d in revocable if d.status is Status.ROLLED_BACK and d.since < moment}
    return [d.name for d in old.values() if record.dependants(d.number) <= old.keys()]
