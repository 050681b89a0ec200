"""Control record: deployments, levels and settings, and the legal changes of them."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property

import msgspec

from kedge.errors import IllegalTransition, InvalidValue, UnknownName, nearest
from kedge.model.attribution import READS, VIEW, Attribution
from kedge.model.lineage import from_ranges, to_ranges
from kedge.model.numbers import as_real

EXTERNAL = "external"
RETENTION_SECONDS_MAX = 1e11  # three thousand years: JSON has no infinity


class Status(StrEnum):
    """The state of a deployment in its life cycle."""

    STAGED = "staged"
    CANARY = "canary"
    LIVE = "live"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"
    PURGED = "purged"


class Level(StrEnum):
    """The degradation level of a feature."""

    FULL = "full"
    FROZEN = "frozen"
    OFF = "off"


SAFE_LEVEL = Level.FROZEN  # the level of features while a rollback converges
_STRICTNESS = tuple(Level)


def stricter(a: Level, b: Level) -> Level:
    """Return the stricter of two levels."""
    return max(a, b, key=_STRICTNESS.index)


class Revocable(msgspec.Struct, frozen=True):
    """A deployment that can still be rolled back, as the control record keeps it."""

    number: int
    name: str
    status: Status
    kind: str = "release"
    weight: float = 0.0
    revoked: bool = False
    bases: tuple[int, ...] = ()
    artifacts: tuple[str, ...] = ()
    since: float = 0.0
    by: str = ""
    attribution: Attribution = READS


class ControlRecord(msgspec.Struct, frozen=True, dict=True):
    """The linearizable record of a database. Every change is a new record with the next epoch."""

    epoch: int = 0
    next_number: int = 1
    deployments: tuple[Revocable, ...] = ()
    settled_ranges: tuple[tuple[int, int], ...] = ()
    purged_ranges: tuple[tuple[int, int], ...] = ()
    levels: dict[str, Level] = {}
    held: dict[str, tuple[str, ...]] = {}  # the operations that hold a feature at the safe level
    retention_seconds: float | None = None
    rolled_back_peers: str = "rejoin"  # what happens to new messages of peers that were rolled back
    reconcilers: dict[str, str] = {}  # the external systems that follow artifacts: name to pattern of keys

    @cached_property
    def settled(self) -> frozenset[int]:
        """The numbers that no view hides."""
        return from_ranges(self.settled_ranges)

    @cached_property
    def purged(self) -> frozenset[int]:
        """The numbers that were purged: no view ever sees them again."""
        return from_ranges(self.purged_ranges)

    @cached_property
    def by_number(self) -> dict[int, Revocable]:
        """The revocable deployments by number."""
        return {deployment.number: deployment for deployment in self.deployments}

    @cached_property
    def rolled_back(self) -> frozenset[int]:
        """The hidden numbers: revoked themselves, or based on one that is."""
        hidden: set[int] = set()
        for deployment in self.deployments:  # in number order: bases come first
            if deployment.revoked or not hidden.isdisjoint(deployment.bases):
                hidden.add(deployment.number)
        return frozenset(hidden)

    @cached_property
    def revocable(self) -> frozenset[int]:
        """The numbers that are neither settled nor purged nor rolled back."""
        return frozenset(self.by_number) - self.rolled_back

    @cached_property
    def live(self) -> frozenset[int]:
        """The numbers that every new session sees, externals included."""
        return frozenset(n for n in self.revocable if self.by_number[n].status is Status.LIVE)

    @cached_property
    def externals(self) -> frozenset[int]:
        """The pseudo-deployments of unsigned peers; every view sees them until they are rolled back."""
        return frozenset(n for n in self.revocable if self.by_number[n].kind == EXTERNAL)

    @cached_property
    def attributed_by_view(self) -> frozenset[int]:
        """The deployments that influence every agent's turn whose view sees them."""
        return frozenset(n for n in self.revocable if self.by_number[n].attribution == VIEW)

    def level(self, feature: str) -> Level:
        """Return the level of a feature; a held one is at least frozen."""
        chosen = self.levels.get(feature, Level.FULL)
        return stricter(chosen, SAFE_LEVEL) if feature in self.held else chosen

    @property
    def below_full(self) -> dict[str, Level]:
        """The features below full, with their levels."""
        return {feature: self.level(feature) for feature in sorted({*self.levels, *self.held})}

    def find(self, name: str) -> Revocable:
        """Return the revocable deployment of this name, or raise `UnknownName`."""
        for deployment in self.deployments:
            if deployment.name == name:
                return deployment
        known = [deployment.name for deployment in self.deployments]
        raise UnknownName(
            f"no revocable deployment is named {name!r}{nearest(name, known)}; "
            "`kedge status` lists them (settled and purged ones never change)"
        )

    def status(self, deployment: Revocable) -> Status:
        """Return the status of a deployment; a rolled-back base makes it rolled back."""
        return Status.ROLLED_BACK if deployment.number in self.rolled_back else deployment.status

    def closure(self, numbers: Iterable[int]) -> frozenset[int]:
        """Return these numbers and those of all their revocable bases."""
        found: set[int] = set()
        frontier = list(numbers)
        while frontier:
            number = frontier.pop()
            if number not in found and number in self.by_number:
                found.add(number)
                frontier.extend(self.by_number[number].bases)
        return frozenset(found)

    def dependants(self, number: int) -> frozenset[int]:
        """Return the numbers of the deployments based on this one, without itself."""
        found = {number}
        for deployment in self.deployments:
            if not found.isdisjoint(deployment.bases):
                found.add(deployment.number)
        return frozenset(found - {number})

    def seen_by(self, base: Iterable[int]) -> frozenset[int]:
        """Return what a reader whose view was fixed to `base` sees now."""
        return frozenset(base) & self.revocable


_LEGAL: dict[Status, str] = {
    Status.STAGED: "canary, promote, rollback",
    Status.CANARY: "canary (another weight), promote, rollback",
    Status.LIVE: "settle, rollback",
    Status.SETTLED: "nothing, it is irrevocable",
    Status.ROLLED_BACK: "reinstate, purge",
    Status.PURGED: "nothing, it was purged",
}


def _require(record: ControlRecord, deployment: Revocable, verb: str, *allowed: Status) -> None:
    status = record.status(deployment)
    if status not in allowed:
        raise illegal(deployment.name, status, verb)


def illegal(name: str, status: Status, verb: str) -> IllegalTransition:
    """Return the error for a change that the status does not allow; it names the legal ones."""
    return IllegalTransition(f"cannot {verb} {name!r}: it is {status}; legal now: {_LEGAL[status]}")


def _require_bases(record: ControlRecord, deployment: Revocable, verb: str, *allowed: Status) -> None:
    for number in deployment.bases:
        base = record.by_number.get(number)
        if base is not None and record.status(base) not in allowed:
            raise IllegalTransition(
                f"cannot {verb} {deployment.name!r}: it rests on {base.name!r}, which is {record.status(base)}; "
                f"{'settle' if allowed == () else 'promote'} {base.name!r} first"
            )


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
        raise InvalidValue(f"invalid canary weight {weight!r}: must be from 0 to 1; 0.1 is one session in ten")
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
) -> ControlRecord:
    """Add a deployment: staged, or live at once for an external peer."""
    staged = Revocable(
        number=record.next_number,
        name=name,
        status=Status.LIVE if kind == EXTERNAL else Status.STAGED,
        kind=kind,
        bases=tuple(sorted(set(bases) & set(record.by_number))),
        artifacts=artifacts,
        since=now,
        by=by,
        attribution=attribution,
    )
    return msgspec.structs.replace(
        record, epoch=record.epoch + 1, next_number=record.next_number + 1, deployments=(*record.deployments, staged)
    )


def canary(record: ControlRecord, name: str, weight: float, *, now: float, by: str) -> ControlRecord:
    """Show a deployment to a share of the sessions that begin from now on."""
    deployment = record.find(name)
    _require(record, deployment, "canary", Status.STAGED, Status.CANARY)
    _require_bases(record, deployment, "canary", Status.LIVE)
    return _with(
        record, msgspec.structs.replace(deployment, status=Status.CANARY, weight=check_weight(weight), since=now, by=by)
    )


def promote(record: ControlRecord, name: str, *, now: float, by: str) -> ControlRecord:
    """Show a deployment to every new session."""
    deployment = record.find(name)
    _require(record, deployment, "promote", Status.STAGED, Status.CANARY)
    _require_bases(record, deployment, "promote", Status.LIVE)
    return _with(record, msgspec.structs.replace(deployment, status=Status.LIVE, weight=1.0, since=now, by=by))


def settle(record: ControlRecord, name: str) -> ControlRecord:
    """Declare a deployment irrevocable."""
    deployment = record.find(name)
    _require(record, deployment, "settle", Status.LIVE)
    _require_bases(record, deployment, "settle")
    return msgspec.structs.replace(
        record,
        epoch=record.epoch + 1,
        deployments=tuple(
            msgspec.structs.replace(d, bases=tuple(b for b in d.bases if b != deployment.number))
            for d in record.deployments
            if d.number != deployment.number
        ),
        settled_ranges=to_ranges(record.settled | {deployment.number}),
    )


def roll_back(record: ControlRecord, name: str, *, now: float, by: str) -> ControlRecord:
    """Hide a deployment and its dependants from every view."""
    deployment = record.find(name)
    _require(record, deployment, "roll back", Status.STAGED, Status.CANARY, Status.LIVE)
    return _with(record, msgspec.structs.replace(deployment, revoked=True, since=now, by=by))


def reinstate(record: ControlRecord, name: str, *, now: float, by: str) -> ControlRecord:
    """Undo a rollback; a dependant is visible again when none of its bases is hidden."""
    deployment = record.find(name)
    _require(record, deployment, "reinstate", Status.ROLLED_BACK)
    hidden = [record.by_number[n].name for n in deployment.bases if n in record.rolled_back]
    if hidden:
        raise IllegalTransition(
            f"cannot reinstate {name!r}: it rests on {', '.join(map(repr, hidden))}, rolled back; reinstate that first"
        )
    return _with(record, msgspec.structs.replace(deployment, revoked=False, since=now, by=by))


def purge(record: ControlRecord, name: str) -> tuple[ControlRecord, frozenset[int]]:
    """Purge a rolled-back deployment and its dependants, irrevocably; return the record and their numbers."""
    deployment = record.find(name)
    _require(record, deployment, "purge", Status.ROLLED_BACK)
    gone = record.dependants(deployment.number) | {deployment.number}
    kept = tuple(d for d in record.deployments if d.number not in gone)
    return (
        msgspec.structs.replace(
            record, epoch=record.epoch + 1, deployments=kept, purged_ranges=to_ranges(record.purged | gone)
        ),
        gone,
    )


def joins_canary(deployment: str, session: str, weight: float) -> bool:
    """Return whether a session is in a canary: SHA-256 of (deployment, session), as a fraction, is below the weight."""
    hashed = hashlib.sha256(f"{deployment}\0{session}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64 < weight


def assign(record: ControlRecord, session: str, opened_with: str | None = None) -> frozenset[int]:
    """Return the deployments that a session that begins now is fixed to."""
    base = set(record.live)
    taken: set[str] = set()
    if opened_with is not None:
        number = open_in(record, opened_with)
        base |= record.closure({number})
        taken |= set(record.by_number[number].artifacts)
    for deployment in record.deployments:
        if deployment.status is not Status.CANARY or deployment.number in record.rolled_back:
            continue
        if taken.isdisjoint(deployment.artifacts) and joins_canary(deployment.name, session, deployment.weight):
            base |= record.closure({deployment.number})
            taken |= set(deployment.artifacts)
    return frozenset(base)


def assign_any(record: ControlRecord) -> frozenset[int]:
    """Return the deployments that every session that begins now is fixed to: canaries of all sessions included."""
    base, taken = set(record.live), set[str]()
    for deployment in record.deployments:
        whole = deployment.status is Status.CANARY and deployment.weight >= 1 and deployment.number in record.revocable
        if whole and taken.isdisjoint(deployment.artifacts):
            base |= record.closure({deployment.number})
            taken |= set(deployment.artifacts)
    return frozenset(base)


def open_in(record: ControlRecord, name: str) -> int:
    """Return the number of a deployment that a turn may be opened in, or raise."""
    deployment = record.find(name)
    if deployment.number in record.rolled_back:
        raise illegal(name, Status.ROLLED_BACK, "open a turn in")
    return deployment.number


def set_level(record: ControlRecord, feature: str, level: Level) -> ControlRecord:
    """Set the level of a feature."""
    levels, held = {**record.levels, feature: level}, dict(record.held)
    if level is Level.FULL:
        del levels[feature]
        held.pop(feature, None)  # an explicit decision overrides a rollback that holds it
    return msgspec.structs.replace(record, epoch=record.epoch + 1, levels=levels, held=held)


def hold(record: ControlRecord, features: Iterable[str], operation: str) -> ControlRecord:
    """Hold features at the safe level for an operation, as part of the change that made `record`."""
    held = dict(record.held)
    for feature in features:
        held[feature] = tuple(dict.fromkeys((*held.get(feature, ()), operation)))
    return msgspec.structs.replace(record, held=held)


def release(record: ControlRecord, operation: str) -> ControlRecord:
    """Release all features that an operation holds; those that another holds stay held."""
    return drop_holds(msgspec.structs.replace(record, epoch=record.epoch + 1), (operation,))


def drop_holds(record: ControlRecord, operations: Iterable[str]) -> ControlRecord:
    """Release all features that these operations hold, as part of the change that made `record`."""
    ended = set(operations)
    left = {feature: tuple(o for o in by if o not in ended) for feature, by in record.held.items()}
    return msgspec.structs.replace(record, held={feature: by for feature, by in left.items() if by})


def set_retention(record: ControlRecord, seconds: float | None) -> ControlRecord:
    """Set how far back the past is readable; None means without limit."""
    kept = as_real(seconds)
    if seconds is not None and not (kept is not None and 0 <= kept <= RETENTION_SECONDS_MAX):
        raise InvalidValue(f"invalid retention {seconds!r}: give seconds from 0 to {RETENTION_SECONDS_MAX:g}, or None")
    return msgspec.structs.replace(record, epoch=record.epoch + 1, retention_seconds=kept)


def set_rolled_back_peers(record: ControlRecord, policy: str) -> ControlRecord:
    """Set what happens to new messages of peers that were rolled back."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, rolled_back_peers=policy)


def set_reconcilers(record: ControlRecord, reconcilers: dict[str, str]) -> ControlRecord:
    """Declare which external systems follow which artifacts."""
    return msgspec.structs.replace(record, epoch=record.epoch + 1, reconcilers=reconcilers)
