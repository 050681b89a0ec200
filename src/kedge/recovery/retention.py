"""Retention: reclaims the content of superseded writes that no view, replay or snapshot can need."""

import hashlib
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import msgspec

from kedge.errors import HoldInTheWay, InvalidValue
from kedge.model import transitions
from kedge.model.checks import check_name
from kedge.model.compaction import Past, Readable
from kedge.model.control import ControlRecord
from kedge.model.lineage import to_ranges
from kedge.model.retention import (
    BOOKKEEPING,
    IDEMPOTENCY,
    METRICS,
    Pinned,
    RetentionPolicy,
    kept_seconds,
    reclaimable,
)
from kedge.model.stores import check_store
from kedge.model.writes import to_json
from kedge.ports.control import Change, EpochMoved
from kedge.ports.reclamation import Erased
from kedge.ports.vectors import Reclaimed
from kedge.recovery import replay
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel, actor

Progress = Callable[[int, int], None]
BY = "retention"
OFF = "off"
_PART_SEQS = 20_000
_ERASED_AT_ONCE = 2_000  # writers wait for the erasure of no more
_PAUSE_SECONDS_MAX = 0.1


class ReclaimReport(Report, frozen=True):
    """What was reclaimed, in all and by store.

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
        return f"content of {count(self.rows, 'write')} reclaimed, {self.bytes:,} bytes{purged}{refused}"


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
    for store, rows in ((IDEMPOTENCY, _prune_calls(kernel, record)), (METRICS, _prune_metrics(kernel, record))):
        if rows:
            found[store] = Reclaimed(rows, 0)
    while True:
        try:
            for store, part in _parts(kernel, _plan(kernel), progress):
                before = found.get(store, Reclaimed(0, 0))
                found[store] = Reclaimed(before.rows + part.writes, before.bytes + part.bytes)
        except EpochMoved:
            continue
        break
    if found:
        detail = {
            "writes": sum(part.rows for part in found.values()),
            "bytes": sum(part.bytes for part in found.values()),
            "stores": {store: {"writes": part.rows, "bytes": part.bytes} for store, part in found.items()},
        }
        kernel.backend.control.step(kernel.backend.clock.fresh_id(), "reclaimed", by=BY, detail=detail)
    return found


def _prune_calls(kernel: Kernel, record: ControlRecord) -> int:
    """Forget the idempotency keys of calls that are older than their policy; return how many."""
    seconds = kept_seconds(record.policies, IDEMPOTENCY, "", None)
    if seconds is None:
        return 0
    before = kernel.backend.control.seq_at(agreed_now(kernel) - seconds) + 1
    pruned = 0
    place: tuple[str, int] | None = ("", 0)
    while place is not None:
        rows, place = kernel.backend.reclamation.prune_calls(before, place)
        pruned += rows
    return pruned


def _prune_metrics(kernel: Kernel, record: ControlRecord) -> int:
    """Delete the metric samples that are older than their policy; return how many."""
    seconds = kept_seconds(record.policies, METRICS, "", None)
    if seconds is None:
        return 0
    pruned = 0
    while rows := kernel.backend.reclamation.prune_metrics(agreed_now(kernel) - seconds):
        pruned += rows
    return pruned


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
    inputs = replay.pending(kernel) if record.rolled_back else []
    pinned = Pinned(sorted({item.rank for item in inputs}), frozenset(item.seq for item in inputs))
    snapshots = sorted({snapshot.seq for snapshot in control.snapshots()})
    pasts = tuple(Past(seq, control.record_at(seq).settled) for seq in snapshots)
    spaces: dict[tuple[str, float], list[int]] = {}
    for space in kernel.backend.reclamation.spaces({policy.store for policy in record.policies}):
        seconds = kept_seconds(record.policies, space.store, space.space, record.retention_seconds)
        if seconds is not None:
            spaces.setdefault((space.store, seconds), []).append(space.id)
    groups = tuple(
        _Group(store, seconds, tuple(ids), Readable(horizon(kernel, seconds), pasts))
        for (store, seconds), ids in spaces.items()
    )
    told = to_json(
        [
            msgspec.to_builtins(record.policies), snapshots, to_ranges(record.settled), to_ranges(record.purged),
            pinned.ranks, sorted(pinned.seqs),
        ]
    )  # fmt: skip
    return _Plan(record, groups, pinned, hashlib.sha256(told).hexdigest())


def horizon(kernel: Kernel, seconds: float) -> Past:
    """Return the oldest point that a policy keeps, by the clock or the last entry, whichever is earlier.

    One wrong time reclaims nothing.
    """
    control = kernel.backend.control
    seq = control.seq_at(agreed_now(kernel) - seconds)
    return Past(seq, control.record_at(seq).settled)


def agreed_now(kernel: Kernel) -> float:
    """Return the time by the clock or the last entry, whichever is earlier."""
    control = kernel.backend.control
    return min(kernel.backend.clock.now(), control.time_of(control.position().seq))


def set_policy(
    kernel: Kernel,
    age: float | None,
    *,
    store: str | None,
    space: str | None,
    hold: bool,
    purge_after: float | str | None,
    by: str | None,
) -> None:
    """Set the horizon, the policy of a store or of a space, or after how long rolled-back deployments are purged."""
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    if purge_after is not None:
        if age is not None or store is not None or space is not None or hold:
            raise InvalidValue(f"purge_after={purge_after!r} goes with no other setting; make two calls")
        after = None if purge_after == OFF else transitions.check_retention(purge_after)
        _change(
            kernel, lambda record: transitions.set_purge_after(record, after), {"purge_after": after}, operation, who
        )
    elif store is not None:
        if hold and age is not None:
            raise InvalidValue(f"invalid age {age!r} of a hold: a hold keeps all until it is dropped; leave age out")
        _change_policy(kernel, transitions.set_policy, _policy(store, space, age, hold=hold), operation, who)
    elif hold or space is not None:
        raise InvalidValue("a hold and a space need store=: say which store they are for, such as store='memory'")
    else:
        kept = transitions.check_retention(age)
        _change(kernel, lambda record: transitions.set_retention(record, kept), {"seconds": kept}, operation, who)


def _change(
    kernel: Kernel,
    alter: Callable[[ControlRecord], ControlRecord],
    detail: dict[str, Any],
    operation: str,
    who: str,
    kind: str = "retention",
) -> None:
    kernel.change(lambda record: Change(alter(record), operation, kind, who, detail=detail))


def drop_policy(kernel: Kernel, *, store: str, space: str | None, hold: bool, by: str | None) -> None:
    """Remove the policy, or the hold, of a store or of a space."""
    operation = kernel.backend.clock.fresh_id()
    _change_policy(kernel, transitions.drop_policy, _policy(store, space, None, hold=hold), operation, actor(by))


def _policy(store: str, space: str | None, age: float | None, *, hold: bool) -> RetentionPolicy:
    check_store(store, *BOOKKEEPING)
    if space is not None and store in BOOKKEEPING:
        raise InvalidValue(f"invalid space {space!r}: {store} has no spaces; leave space out")
    named = None if space is None else check_name("the space", space, empty=True)
    return RetentionPolicy(store, named, transitions.check_retention(age), hold)


def _change_policy(
    kernel: Kernel,
    alter: Callable[[ControlRecord, RetentionPolicy], ControlRecord],
    policy: RetentionPolicy,
    operation: str,
    who: str,
) -> None:
    kind = "hold" if policy.hold else "retention"
    dropped = alter is transitions.drop_policy
    detail = {"store": policy.store, "space": policy.space, "seconds": policy.seconds, "dropped": dropped}
    _change(kernel, lambda record: alter(record, policy), detail, operation, who, kind)


def check_holds(kernel: Kernel, gone: frozenset[int], record: ControlRecord) -> None:
    """Raise `HoldInTheWay` if a hold is on a space where one of these deployments wrote."""
    holds = [policy for policy in record.policies if policy.hold]
    if not holds:
        return
    impact = kernel.backend.impact
    for counted in impact.count_writes(impact.lineages_with(gone)):
        held = next((h for h in holds if h.store == counted.store and h.space in {None, counted.space}), None)
        if held is not None:
            names = ", ".join(map(repr, sorted(kernel.names(gone))))
            raise HoldInTheWay(
                f"{names} wrote to {counted.store} {counted.space!r}, where a hold on {held.scope} keeps everything; "
                "drop the hold first (`kedge retention --help`), then purge"
            )
