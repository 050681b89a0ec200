"""Retention: reclaims the content of superseded writes that no view, replay or snapshot can need."""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from kedge.backends.readable import readable_part
from kedge.model.compaction import Readable
from kedge.model.control import ControlRecord
from kedge.model.lineage import to_ranges
from kedge.model.retention import BOOKKEEPING, Pinned, kept_seconds, reclaimable
from kedge.model.writes import to_json
from kedge.ports.control import EpochMoved
from kedge.ports.reclamation import Erased
from kedge.ports.vectors import Reclaimed
from kedge.recovery import replay
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel

Progress = Callable[[int, int], None]
_PART_SEQS = 20_000
_ERASED_AT_ONCE = 2_000  # writers wait for the erasure of no more
_PAUSE_SECONDS_MAX = 0.1


class ReclaimReport(Report, frozen=True):
    """What was reclaimed, in all and by store; of idempotency keys, metrics, reads and sessions, the rows deleted.

    `purged`: the deployments that were purged since they had been rolled back for long enough (`purge_after`);
    `refused`: those that could not be, by name, and why.
    """

    rows: int = 0
    bytes: int = 0
    stores: dict[str, Reclaimed] = msgspec.field(default_factory=dict)
    purged: tuple[str, ...] = ()
    refused: dict[str, str] = msgspec.field(default_factory=dict)

    def __str__(self) -> str:
        """Return the verdict."""
        purged = f"; purged: {', '.join(self.purged)}" if self.purged else ""
        refused = f"; not purged: {', '.join(self.refused)}" if self.refused else ""
        rows = sum(part.rows for store, part in self.stores.items() if store in BOOKKEEPING)
        pruned = f"; {count(rows, 'row')} of bookkeeping deleted" if rows else ""
        writes = count(self.rows - rows, "write")
        return f"content of {writes} reclaimed, {self.bytes:,} bytes{pruned}{purged}{refused}"


class _Group(msgspec.Struct, frozen=True):
    """The spaces of a store whose policies keep content for equally long."""

    store: str
    seconds: float
    spaces: tuple[int, ...]
    readable: Readable

    @property
    def name(self) -> str:
        """What the progress is kept under."""
        return f"{self.store} {self.seconds!r}"


class _Plan(msgspec.Struct, frozen=True):
    """What to look at, as of one epoch. `pins`: a digest of all that may keep content, apart from time."""

    record: ControlRecord
    groups: tuple[_Group, ...]
    pinned: Pinned
    pins: str


class _Done(msgspec.Struct):
    """How far the journal was looked at under these pins: the last seq, by the name of each group."""

    pins: str = ""
    upto: dict[str, int] = {}


def reclaim(kernel: Kernel, progress: Progress | None = None) -> dict[str, Reclaimed]:
    """Reclaim what the retention policies allow; return by store how many writes lost their content, and its bytes.

    It goes on where the last call ended, also one that was killed, unless a policy, a snapshot, a settled or purged
    deployment or a pending replay has changed: then it looks at the whole journal again.
    """
    found: dict[str, Reclaimed] = {}
    record = kernel.backend.control.load()
    if not record.policies:
        return found
    while True:
        try:
            for store, part in _parts(kernel, _plan(kernel), progress):
                before = found.get(store, Reclaimed(0, 0))
                found[store] = Reclaimed(before.rows + part.writes, before.bytes + part.bytes)
        except EpochMoved:
            continue
        break
    return found


def _parts(kernel: Kernel, plan: _Plan, progress: Progress | None) -> Iterator[tuple[str, Erased]]:
    """Look at the journal part by part; yield what was reclaimed. Raise `EpochMoved` after a control change."""
    reclamation = kernel.backend.reclamation
    done = _load(kernel, plan)
    todo = sum(max(0, group.readable.horizon.seq - done.upto.get(group.name, 0)) for group in plan.groups)
    looked = 0
    for group in plan.groups:
        last = group.readable.horizon.seq
        for first in range(done.upto.get(group.name, 0) + 1, last + 1, _PART_SEQS):
            upto = min(first + _PART_SEQS - 1, last)
            found = reclamation.versions(first, upto, last, group.spaces)
            doomed = list(
                chain.from_iterable(
                    reclaimable(versions, found.members, group.readable, plan.pinned, plan.record.purged)
                    for versions in found.keys
                )
            )
            for start in range(0, len(doomed), _ERASED_AT_ONCE):
                began = time.monotonic()
                yield group.store, reclamation.erase(doomed[start : start + _ERASED_AT_ONCE], plan.record.epoch)
                time.sleep(min(time.monotonic() - began, _PAUSE_SECONDS_MAX))  # writers get half of the time
            done.upto[group.name] = upto
            reclamation.set_progress(msgspec.json.encode(done))
            looked += upto - first + 1
            if progress is not None:
                progress(looked, todo)


def _load(kernel: Kernel, plan: _Plan) -> _Done:
    kept = kernel.backend.reclamation.progress()
    done = _Done() if kept is None else msgspec.json.decode(kept, type=_Done)
    return done if done.pins == plan.pins else _Done(plan.pins, {})


def _plan(kernel: Kernel) -> _Plan:
    control = kernel.backend.control
    record = control.load()
    may_be_pending = record.rolled_back or kernel.backend.provenance.refused_turns(limit=1)
    inputs = replay.pending(kernel) if may_be_pending else []
    pinned = Pinned(sorted({item.rank for item in inputs}), frozenset(item.seq for item in inputs))
    spaces: dict[tuple[str, float], list[int]] = {}
    for space in kernel.backend.reclamation.spaces({policy.store for policy in record.policies}):
        seconds = kept_seconds(record.policies, space.store, space.space, record.retention_seconds)
        if seconds is not None:
            spaces.setdefault((space.store, seconds), []).append(space.id)
    now = kernel.backend.clock.now()
    readable = {seconds: readable_part(control, seconds, now) for _, seconds in spaces}
    groups = tuple(_Group(store, seconds, tuple(ids), readable[seconds]) for (store, seconds), ids in spaces.items())
    told = to_json(
        [
            msgspec.to_builtins(record.policies), sorted({snapshot.seq for snapshot in control.snapshots()}),
            to_ranges(record.settled), to_ranges(record.purged), pinned.ranks, sorted(pinned.seqs),
        ]
    )  # fmt: skip
    return _Plan(record, groups, pinned, hashlib.sha256(told).hexdigest())
