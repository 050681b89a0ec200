"""Legal changes of the control record: life cycle of deployments, levels, retention, reconcilers."""

from collections.abc import Iterable

import msgspec

from kedge.errors import IllegalTransition, InvalidValue, UnknownName, nearest
from kedge.model.attribution import READS, Attribution
from kedge.model.control import EXTERNAL, ControlRecord, Revocable, Status
from kedge.model.declared_metrics import METRICS_MAX, DeclaredMetric
from kedge.model.numbers import as_real
from kedge.model.retention import POLICIES_MAX, RetentionPolicy
from kedge.support.display import brief

RETENTION_SECONDS_MAX = 1e11  # three thousand years: JSON has no infinity


_LEGAL: dict[Status, str] = {
    Status.STAGED: "canary, promote, rollback",
    Status.CANARY: "canary (another weight), promote, rollback",
    Status.LIVE: "settle, rollback",
    Status.SETTLED: "nothing, it is irrevocable",
    Status.ROLLED_BACK: "reinstate, purge",
    Status.PURGED: "nothing, its data is deleted",
}


def _require(record: ControlRecord, deployment: Revocable, verb: str, *allowed: Status) -> None:
    status = record.status(deployment)
    if status not in allowed:
        raise illegal(deployment.name, status, verb)


def illegal(name: str, status: Status, verb: str) -> IllegalTransition:
    """Return the error for a change that the status does not allow; it names the legal ones."""
    return IllegalTransition(f"cannot {verb} {name!r}: it is {status}; legal now: {legal_now(status)}")


def legal_now(status: Status) -> str:
    """Return the changes that are legal for a deployment of this status, as messages name them."""
    return _LEGAL[status]


def _require_bases(record: ControlRecord, deployment: Revocable, verb: str, *allowed: Status) -> None:
    for number in sorted(record.closure(deployment.bases)):
        base = _base(record, number)
        if base is not None and record.status(base) not in allowed:
            raise IllegalTransition(
                f"cannot {verb} {deployment.name!r}: it rests on {base.name!r}, which is {record.status(base)}; "
                f"{'settle' if allowed == () else 'promote'} {base.name!r} first"
            )


def _base(record: ControlRecord, number: int) -> Revocable | None:
    if number in record.peers:
        return record.peer(number, f"{EXTERNAL} #{number}")
    return record.by_number.get(number)


def _given(record: ControlRecord, deployment: str | Revocable) -> Revocable:
    """Return a deployment that was given by name or, as a peer has to be, as it was found."""
    return record.find(deployment) if isinstance(deployment, str) else deployment


def _revoked(record: ControlRecord, deployment: Revocable, *, revoked: bool, now: float, by: str) -> ControlRecord:
    if deployment.number not in record.peers:
        return _with(record, msgspec.structs.replace(deployment, revoked=revoked, since=now, by=by))
    one = {deployment.number}
    hidden = record.hidden_peers | one if revoked else record.hidden_peers - one
    return msgspec.structs.replace(record, epoch=record.epoch + 1, hidden_peers=hidden)


def _with(record: ControlRecord, changed: Revocable) -> ControlRecord:
    return msgspec.structs.replace(
        record,
        epoch=record.epoch + 1,
        deployments=tuple(changed if d.number == changed.number else d for d in record.deployments),
    )


def check_weight(weight: object) -> float:
    """Return a canary weight as a float in 0..1, or raise `InvalidValue`."""
    share = as_real(weight)
    if share is None or not 0 <= share <= 1:
        raise InvalidValue(f"invalid canary weight {brief(weight)}: must be from 0 to 1; 0.1 is one session in ten")
    return float(share)


def stage(
    record: ControlRecord,
    name: str,
    *,
    artifacts: tuple[str, ...],
    bases: Iterable[int],
    now: float,
    by: str,
    kind: str = "release",
    attribution: Attribution = READS,
    settle_after: float | None = None,
    sets_lists: bool = False,
) -> ControlRecord:
    """Add a deployment: staged, or live at once for an external peer."""
    after = msgspec.structs.replace(record, epoch=record.epoch + 1, next_number=record.next_number + 1)
    if kind == EXTERNAL and record.compact:
        return msgspec.structs.replace(after, peers=record.peers | {record.next_number})
    staged = Revocable(
        number=record.next_number,
        name=name,
        status=Status.LIVE if kind == EXTERNAL else Status.STAGED,
        kind=kind,
        bases=record.direct(bases),
        artifacts=artifacts,
        since=now,
        by=by,
        attribution=attribution,
        settle_after=settle_after,
        lists=after.epoch if sets_lists else 0,
    )
    return msgspec.structs.replace(after, deployments=(*record.deployments, staged))


def canary(
    record: ControlRecord, name: str | Revocable, weight: float, *, now: float, by: str, sets_lists: bool = False
) -> ControlRecord:
    """Show a deployment to a share of the sessions that begin from now on; the change may set its lists, too."""
    deployment = _given(record, name)
    _require(record, deployment, "canary", Status.STAGED, Status.CANARY)
    _require_bases(record, deployment, "canary", Status.LIVE)
    lists = record.epoch + 1 if sets_lists else deployment.lists
    share = check_weight(weight)
    started = msgspec.structs.replace(
        deployment, status=Status.CANARY, weight=share, since=now, by=by, lists=lists
    )  # fmt: skip
    return _with(record, started)


def check_holdback(share: object) -> float:
    """Return a holdback as a float in 0..1, without 1, or raise `InvalidValue`."""
    held = as_real(share)
    if held is None or not 0 <= held < 1:
        raise InvalidValue(
            f"invalid holdback {brief(share)}: must be at least 0 and below 1; 0.1 holds back one in ten"
        )
    return float(held)


def promote(
    record: ControlRecord, name: str | Revocable, *, now: float, by: str, holdback: float = 0.0
) -> ControlRecord:
    """Show a deployment to every new session, except to a share that is held back."""
    deployment = _given(record, name)
    _require(record, deployment, "promote", Status.STAGED, Status.CANARY)
    _require_bases(record, deployment, "promote", Status.LIVE)
    return _with(
        record, msgspec.structs.replace(deployment, status=Status.LIVE, weight=1.0, since=now, by=by, holdback=holdback)
    )


def settle(record: ControlRecord, name: str | Revocable) -> ControlRecord:
    """Declare a deployment irrevocable."""
    deployment = _given(record, name)
    _require(record, deployment, "settle", Status.LIVE)
    _require_bases(record, deployment, "settle")
    return _closed(record, frozenset({deployment.number}))


def check_settle_after(seconds: object) -> float | None:
    """Return a settle policy in seconds, or None for none, or raise `InvalidValue`."""
    if seconds is None:
        return None
    kept = as_real(seconds)
    if kept is None or not 0 <= kept <= RETENTION_SECONDS_MAX:
        raise InvalidValue(
            f"invalid settle_after {brief(seconds)}: give seconds from 0 to {RETENTION_SECONDS_MAX:g}, or None"
        )
    return float(kept)


def due(record: ControlRecord, now: float) -> list[Revocable]:
    """Return the live deployments whose settle policy is due, each after what it rests on.

    One that rests on a deployment that is neither settled nor due waits for it.
    """
    found: list[Revocable] = []
    ready: set[int] = set()
    for deployment in record.deployments:  # in number order: bases come first
        after = deployment.settle_after
        is_due = after is not None and deployment.since + after <= now and ready.issuperset(deployment.bases)
        if is_due and record.status(deployment) is Status.LIVE:
            ready.add(deployment.number)
            found.append(deployment)
    return found


def _closed(record: ControlRecord, numbers: frozenset[int]) -> ControlRecord:
    """Return the next record without these numbers: they are settled unless they are purged."""
    return msgspec.structs.replace(
        record,
        epoch=record.epoch + 1,
        deployments=tuple(
            msgspec.structs.replace(d, bases=tuple(b for b in d.bases if b not in numbers))
            if not numbers.isdisjoint(d.bases)
            else d
            for d in record.deployments
            if d.number not in numbers
        ),
        peers=record.peers - numbers,
        hidden_peers=record.hidden_peers - numbers,
    )


def roll_back(record: ControlRecord, name: str | Revocable, *, now: float, by: str) -> ControlRecord:
    """Hide a deployment and its dependants from every view."""
    deployment = _given(record, name)
    _require(record, deployment, "roll back", Status.STAGED, Status.CANARY, Status.LIVE)
    return _revoked(record, deployment, revoked=True, now=now, by=by)


def reinstate(record: ControlRecord, name: str | Revocable, *, now: float, by: str) -> ControlRecord:
    """Undo a rollback; a dependant is visible again when none of its bases is hidden."""
    deployment = _given(record, name)
    _require(record, deployment, "reinstate", Status.ROLLED_BACK)
    bases = (_base(record, number) for number in sorted(record.closure(deployment.bases)))
    hidden = [base.name for base in bases if base is not None and base.revoked]
    if hidden:
        raise IllegalTransition(
            f"cannot reinstate {deployment.name!r}: it rests on {', '.join(map(repr, hidden))}, rolled back; "
            "reinstate that first"
        )
    return _revoked(record, deployment, revoked=False, now=now, by=by)


def purge(record: ControlRecord, name: str | Revocable) -> tuple[ControlRecord, frozenset[int]]:
    """Purge a rolled-back deployment and its dependants, irrevocably; return the record and their numbers."""
    deployment = _given(record, name)
    _require(record, deployment, "purge", Status.ROLLED_BACK)
    gone = record.dependants(deployment.number) | {deployment.number}
    kept = tuple(entry for entry in record.entries if entry.number not in gone)
    return msgspec.structs.replace(_closed(record, gone), purged=record.purged | gone, entries=kept), gone


def compacted(record: ControlRecord) -> ControlRecord:
    """Return the same record in the form of a finished upgrade: peers as numbers, and direct bases only."""
    if record.compact:
        return record
    peers = {d.number for d in record.deployments if d.kind == EXTERNAL}
    return msgspec.structs.replace(
        record,
        deployments=tuple(
            msgspec.structs.replace(d, bases=record.direct(d.bases))
            for d in record.deployments
            if d.number not in peers
        ),
        peers=record.peers | peers,
        hidden_peers=record.hidden_peers | {d.number for d in record.deployments if d.number in peers and d.revoked},
        compact=True,
    )


def next_epoch(record: ControlRecord) -> ControlRecord:
    """Return the record with the next epoch, for a change of its entries or settings."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1)


def declare_metrics(record: ControlRecord, metrics: Iterable[DeclaredMetric]) -> ControlRecord:
    """Declare metrics, in place of those of the same names."""
    _check_kept(record, "the declared metrics")
    declared = {**record.metrics, **{metric.name: metric for metric in metrics}}
    if len(declared) > METRICS_MAX:
        raise InvalidValue(f"a database has {METRICS_MAX} declared metrics at most, not {len(declared)}; withdraw some")
    return msgspec.structs.replace(record, epoch=record.epoch + 1, metrics=declared)


def withdraw_metric(record: ControlRecord, name: str) -> ControlRecord:
    """Withdraw the declaration of a metric, or raise `UnknownName`."""
    if name not in record.metrics:
        raise UnknownName(
            f"no metric {brief(name)} is declared{nearest(name, record.metrics)}; `kedge metrics` lists them"
        )
    left = {other: metric for other, metric in record.metrics.items() if other != name}
    return msgspec.structs.replace(record, epoch=record.epoch + 1, metrics=left)


def set_retention(record: ControlRecord, seconds: float | None) -> ControlRecord:
    """Set how far back the past is readable; None means without limit."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, retention_seconds=check_retention(seconds))


def check_retention(seconds: object, what: str = "retention", no_limit: str = "None") -> float | None:
    """Return a number of seconds to keep the past for, None for no limit, or raise `InvalidValue`."""
    kept = as_real(seconds)
    if seconds is not None and not (kept is not None and 0 <= kept <= RETENTION_SECONDS_MAX):
        raise InvalidValue(
            f"invalid {what} {brief(seconds)}: give seconds from 0 to {RETENTION_SECONDS_MAX:g}, or {no_limit}"
        )
    return kept


def set_purge_after(record: ControlRecord, seconds: float | None) -> ControlRecord:
    """Set after how long rolled-back deployments are purged; None means never."""
    _check_kept(record, "purge_after")
    return msgspec.structs.replace(record, epoch=record.epoch + 1, purge_after_seconds=seconds)


def _check_kept(record: ControlRecord, what: str) -> None:
    """Raise `IllegalTransition` for a setting that older processes, which may still write, would drop."""
    if not record.compact:
        raise IllegalTransition(
            f"cannot change {what}: older processes, which can still write, would lose it; run `kedge upgrade` first"
        )


def set_policy(record: ControlRecord, policy: RetentionPolicy) -> ControlRecord:
    """Set the policy of a store or of a space, in place of the one that it has."""
    return _with_policies(record, policy, (policy,))


def drop_policy(record: ControlRecord, policy: RetentionPolicy) -> ControlRecord:
    """Remove the policy, or the hold, of a store or of a space; raise `UnknownName` where there is none."""
    if not any(_is_for_the_same(policy, other) for other in record.policies):
        what = "hold" if policy.hold else "retention policy"
        raise UnknownName(f"no {what} is set for {policy.scope}; `kedge retention` lists them")
    return _with_policies(record, policy, ())


def _is_for_the_same(policy: RetentionPolicy, other: RetentionPolicy) -> bool:
    return (policy.store, policy.space, policy.hold) == (other.store, other.space, other.hold)


def _with_policies(
    record: ControlRecord, replaced: RetentionPolicy, added: tuple[RetentionPolicy, ...]
) -> ControlRecord:
    _check_kept(record, f"the retention of {replaced.scope}")
    kept = tuple(policy for policy in record.policies if not _is_for_the_same(policy, replaced)) + added
    if len(kept) > POLICIES_MAX:
        raise InvalidValue(
            f"a database has {POLICIES_MAX} retention policies at most; lift one, or set it for the store"
        )
    ordered = tuple(sorted(kept, key=lambda policy: (policy.store, policy.space or "", policy.hold)))
    return msgspec.structs.replace(record, epoch=record.epoch + 1, policies=ordered)


def set_rolled_back_peers(record: ControlRecord, policy: str) -> ControlRecord:
    """Set what happens to new messages of peers that were rolled back."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, rolled_back_peers=policy)


def set_reconcilers(record: ControlRecord, reconcilers: dict[str, str]) -> ControlRecord:
    """Declare which external systems follow which artifacts."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, reconcilers=reconcilers)
