"""Deployment life cycle: deploy, canary, promote, settle."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kedge.deployments.derivation import DECLARED, DerivedFrom, bases_of, label_of, seen_in
from kedge.errors import DuplicateName, IllegalTransition, InvalidValue
from kedge.model import control as rules
from kedge.model import transitions
from kedge.model.artifacts import Artifact, as_artifact, manifest_digest, manifest_warnings, pack
from kedge.model.assignment import ANY, check_units, detail_of
from kedge.model.attribution import READS, Attribution, check_attribution, warnings_of
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord, Status
from kedge.model.negotiation import SPEAKS, read_rules
from kedge.model.reconcile import Reconciled
from kedge.model.visibility import View
from kedge.model.writes import Key, Pending
from kedge.ports.control import Change, Entry, Recorded, Release
from kedge.support.display import Report, Value, count
from kedge.turns.kernel import Kernel, actor
from kedge.turns.view import ReadView

SNAPSHOT_PREFIX = "before:"  # prefix of the names of snapshots that staging takes
_OF_DEPENDANTS = ("rollback", "reinstate", "purge")  # changes that concern what rests on a deployment, too
_NO_STATUS = {"stage", "release-held"}  # changes of a deployment that leave its status as it is
AGENTS_MAX = 1_000  # at most so many agents are looked for a name like that of an unknown one
BOTH_MAX = 100  # at most so many keys that both sides wrote are in a promotion's report


class Declared(Value, frozen=True):
    """What a call of `deploy` said beside the artifacts, the attribution and the note."""

    canary: float | None = None
    independent: bool = False
    base: str | None = None
    derived_from: DerivedFrom | None = None


class Deployment(Value, frozen=True):
    """A deployment. Times are seconds since the Unix epoch.

    `since`, `by` and `reason` are those of the newest change of its status: its own, or that of a base it rests on.
    `pins` are its artifacts by key, without their values. `declared` is None where an older release staged it.
    `settle_after`: its settle policy, in seconds after its promotion, while it can still settle.
    `allow` and `deny` are the units that it is shown to, and those that it is not shown to, whatever its weight.
    `holdback` is the share that a live one is not shown to. A settled one has none of these.
    """

    name: str
    number: int
    status: Status
    kind: str
    weight: float
    bases: tuple[str, ...]
    artifacts: tuple[str, ...]
    digest: str
    warnings: tuple[str, ...]
    note: str
    created_at: float
    created_by: str
    since: float
    by: str
    reason: str
    attribution: Attribution = READS
    pins: dict[str, Artifact] = msgspec.field(default_factory=dict)
    declared: Declared | None = None
    settle_after: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    holdback: float = 0.0


class PromoteReport(Report, frozen=True):
    """A promotion: artifacts that newer deployments shadow, and up to 100 keys that both it and others wrote.

    `reconciled`: the result for each external system that follows one of its artifacts.
    """

    deployment: Deployment
    shadowed: dict[str, str]
    written_by_both: tuple[str, ...]
    reconciled: tuple[Reconciled, ...] = ()

    def __str__(self) -> str:
        """Return the verdict."""
        failed = [outcome.name for outcome in self.reconciled if not outcome.ok]
        late = f", but NOT RECONCILED: {', '.join(failed)}" if failed else ""
        shadowed = f"; {count(len(self.shadowed), 'artifact')} shadowed by newer ones" if self.shadowed else ""
        return f"{self.deployment.name}: {self.deployment.status}{late}{shadowed}"


def _checked_manifest(name: str, artifacts: object) -> dict[str, Artifact]:
    """Return the artifacts of a deployment by key, or raise `InvalidValue`."""
    if not isinstance(artifacts, Mapping):
        raise InvalidValue(f"invalid artifacts: must be a mapping of keys to values, not {type(artifacts).__name__}")
    if not artifacts:
        raise InvalidValue(
            f"invalid artifacts of {name!r}: a deployment has at least one artifact; a release of code pins "
            "'<agent>/code' or 'shared/code'"
        )
    manifest = {check_name("the artifact key", key): as_artifact(key, value) for key, value in artifacts.items()}
    for key, artifact in manifest.items():
        if key.endswith(f"/{SPEAKS}"):
            read_rules(key, artifact.value)  # raises here rather than at the first message
    return manifest


def deploy(
    kernel: Kernel,
    name: str,
    artifacts: Mapping[str, Any],
    *,
    canary: float | None,
    independent: bool,
    base: str | None,
    derived_from: ReadView | None = None,
    by: str | None,
    note: str,
    kind: str = "release",
    attribution: str = READS,
    settle_after: float | None = None,
    allow: Iterable[str] = (),
    deny: Iterable[str] = (),
) -> Deployment:
    """Stage a deployment, and start it as a canary if a weight is given."""
    check_name("the deployment name", name)
    if name.startswith((f"{rules.EXTERNAL}:", "#")):
        raise InvalidValue(f"invalid deployment name {name!r}: this prefix is reserved; choose another name")
    if canary is not None:
        canary = transitions.check_weight(canary)
    if independent and base is not None:
        raise InvalidValue(
            f"independent=True and base={base!r} exclude each other: a deployment goes with its base; give one of them"
        )
    settles = transitions.check_settle_after(settle_after)
    units = check_units(name, allow, deny)
    if units != ANY:
        kernel.check_fence("allow= and deny=")
    manifest = _checked_manifest(name, artifacts)
    influences = check_attribution(name, attribution, manifest)
    port = kernel.backend.attribution
    keys = manifest if influences == READS else [key for key in manifest if "/" in key]  # by view, each key counts
    warnings = warnings_of(keys, port.agents(AGENTS_MAX), port.artifact_names())
    who = actor(by)
    operation = kernel.backend.clock.fresh_id()
    saw = frozenset[int]() if derived_from is None else seen_in(kernel, derived_from)
    derived = None if derived_from is None else DerivedFrom(label_of(derived_from), tuple(sorted(kernel.names(saw))))
    declared = msgspec.to_builtins(Declared(canary, independent, base, derived))

    def decide(record: ControlRecord) -> Change:
        if kernel.backend.control.number_of(name) is not None:
            raise DuplicateName(f"a deployment named {name!r} exists already; names are never used twice")
        if settles is not None and not record.compact:
            raise IllegalTransition(
                f"cannot deploy {name!r} with settle_after={settles:g}: older processes, which can still write, would "
                "lose it; run `kedge upgrade` first"
            )
        rests_on = frozenset() if base is None else kernel.base_of(record, base)
        if not independent:
            rests_on |= bases_of(record, name, saw, kernel)
        writes, bases = _artifact_writes(kernel, record, manifest, rests_on, independent=independent)
        staged = transitions.stage(
            record,
            name,
            artifacts=tuple(sorted(manifest)),
            bases=bases,
            now=kernel.backend.clock.now(),
            by=who,
            kind=kind,
            attribution=influences,
            settle_after=settles,
            sets_lists=units != ANY,
        )
        if canary is not None:
            transitions.canary(
                staged, name, canary, now=kernel.backend.clock.now(), by=who
            )  # raises before anything is staged
        warned = manifest_warnings(manifest) + warnings
        release = Release(record.next_number, name, kind, manifest_digest(manifest), manifest, warned, note)
        return Change(
            staged,
            operation,
            "stage",
            who,
            name,
            note,
            {"digest": release.digest, "artifacts": sorted(manifest), "attribution": influences, DECLARED: declared}
            | ({} if settles is None else {"settle_after": settles})
            | ({} if units == ANY else detail_of(units)),
            release=release,
            writes=writes,
            snapshot=f"{SNAPSHOT_PREFIX}{name}",
        )

    kernel.change(decide)
    return show(kernel, name) if canary is None else start_canary(kernel, name, canary, by=by)


def _artifact_writes(
    kernel: Kernel,
    record: ControlRecord,
    manifest: Mapping[str, Artifact],
    rests_on: frozenset[int],
    *,
    independent: bool,
) -> tuple[tuple[Pending, ...], frozenset[int]]:
    """Return the manifest's writes and its bases: those given, and those of the heads that it overrides."""
    number = record.next_number
    seen = record.live | record.closure(rests_on)
    view = View(record.epoch, seen, record.settled)
    heads = kernel.backend.journal.heads(view, "artifacts", "", sorted(manifest))
    bases = set(rests_on)  # they count even if they share no artifact: a named base was tested with it
    writes = []
    for key, artifact in sorted(manifest.items()):
        under = frozenset() if independent or key not in heads else heads[key].lineage - record.settled
        bases |= under
        writes.append(Pending(Key("artifacts", "", key), pack(artifact), lineage=under | {number}))
    return tuple(writes), frozenset(bases)


def start_canary(
    kernel: Kernel,
    name: str,
    weight: float,
    *,
    by: str | None,
    allow: Iterable[str] | None = None,
    deny: Iterable[str] | None = None,
    reason: str = "",
    operation: str | None = None,
) -> Deployment:
    """Show a deployment to a share of new sessions, and to the units that are allowed. None leaves a list as it is."""
    who, operation = actor(by), operation or kernel.backend.clock.fresh_id()
    weight = transitions.check_weight(weight)
    is_asked = allow is not None or deny is not None
    asked = check_units(name, () if allow is None else allow, () if deny is None else deny)
    if is_asked:
        kernel.check_fence("allow= and deny=")

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "canary")
        after = transitions.canary(
            record, found, weight, now=kernel.backend.clock.now(), by=who, sets_lists=is_asked
        )  # fmt: skip
        detail: dict[str, Any] = {"weight": weight}
        if is_asked:
            there = kernel.units_of(found)
            allowed = there.allow if allow is None else asked.allow
            detail |= detail_of(check_units(name, allowed, there.deny if deny is None else asked.deny))
        return Change(after, operation, "canary", who, name, reason, detail)

    kernel.change(decide)
    return show(kernel, name)


def promote(
    kernel: Kernel, name: str, *, by: str | None, holdback: float | None = None, operation: str | None = None
) -> tuple[PromoteReport, Entry]:
    """Show a deployment to every new session; report what shadows it and what both sides wrote."""
    who, operation = actor(by), operation or kernel.backend.clock.fresh_id()
    held = 0.0 if holdback is None else transitions.check_holdback(holdback)
    if held:
        kernel.check_fence("holdback=")

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "promote")
        after = transitions.promote(record, found, now=kernel.backend.clock.now(), by=who, holdback=held)
        return Change(after, operation, "promote", who, name, detail={"holdback": held} if held else {})

    record, entry = kernel.change(decide)
    promoted = record.find(name)
    view = View(record.epoch, record.live, record.settled)
    heads = kernel.read_present(lambda v: kernel.backend.journal.heads(v, "artifacts", "", promoted.artifacts), view)
    shadowed = {
        key: ", ".join(sorted(kernel.names(head.lineage))) or "the settled state"
        for key, head in heads.items()
        if promoted.number not in head.lineage
    }
    both = kernel.backend.impact.written_by_both(promoted.number, limit=BOTH_MAX)
    return PromoteReport(show(kernel, name), shadowed, tuple(key.label for key in both)), entry


def settle(kernel: Kernel, name: str, *, by: str | None, reason: str = "", operation: str | None = None) -> Deployment:
    """Make a deployment irrevocable, and release the snapshot that staging took."""
    who, operation = actor(by), operation or kernel.backend.clock.fresh_id()

    def decide(record: ControlRecord) -> Change:
        found = kernel.find(record, name, "settle")
        after = transitions.settle(record, found)
        return Change(after, operation, "settle", who, name, reason, drop_snapshots_of=(found.number,))

    kernel.change(decide)
    return show(kernel, name)


def show(kernel: Kernel, name: str) -> Deployment:
    """Return a deployment, settled and purged ones included, or raise `UnknownName`."""
    control = kernel.backend.control
    number, record = control.number_of(name), control.load()
    if number is None:
        record.find(name)
        raise InvalidValue(f"no deployment is named {name!r}")
    entries = control.entries_of([name])
    if below := record.closure({number}) - {number}:
        entries += control.entries_of(kernel.names(below), _OF_DEPENDANTS)
    if number in record.purged and not any(entry.kind == "purge" for entry in entries):
        entries = control.entries()  # it went with a base that is not known any more
    return _list(kernel, record, control.recorded([number]), entries)[0]


def list_revocable(kernel: Kernel, record: ControlRecord) -> list[Deployment]:
    """Return the deployments that can still change, in the order of staging."""
    control = kernel.backend.control
    numbers = record.peers.union(record.by_number)
    return _list(kernel, record, control.recorded(numbers), control.entries_of(kernel.names(numbers)))


def list_all(kernel: Kernel) -> list[Deployment]:
    """Return every deployment ever staged, in the order of staging."""
    control = kernel.backend.control
    return _list(kernel, control.load(), control.recorded(), control.entries())


def list_peers(kernel: Kernel) -> list[Deployment]:
    """Return the pseudo-deployments of unsigned peers, in the order of registration."""
    control = kernel.backend.control
    names = control.peers()
    return _list(kernel, control.load(), control.recorded(names), control.entries_of(names.values()))


def _list(
    kernel: Kernel, record: ControlRecord, recorded: Iterable[Recorded], entries: Iterable[Entry]
) -> list[Deployment]:
    staged: dict[str, Mapping[str, Any]] = {}
    newest: dict[str | int, Entry] = {}  # by name, and by number where a base's change included it
    for entry in entries:
        if entry.kind == "stage" and entry.deployment is not None:
            staged[entry.deployment] = entry.detail
        elif not entry.is_step and entry.kind not in _NO_STATUS:
            for concerned in (entry.deployment, *entry.detail.get("numbers", ())):
                if concerned is not None and (concerned not in newest or newest[concerned].seq < entry.seq):
                    newest[concerned] = entry
    return [_deployment(record, one, newest, staged.get(one.release.name, {}), kernel) for one in recorded]


def _deployment(
    record: ControlRecord,
    recorded: Recorded,
    newest: Mapping[str | int, Entry],
    staged: Mapping[str, Any],
    kernel: Kernel,
) -> Deployment:
    release = recorded.release
    revocable = record.by_number.get(release.number)
    if release.number in record.peers:
        revocable = record.peer(release.number, release.name)
    if revocable is None:
        status = Status.PURGED if release.number in record.purged else Status.SETTLED
    else:
        status = record.status(revocable)
    own = [newest[concerned] for concerned in (release.name, release.number) if concerned in newest]
    change = max(own, key=lambda entry: entry.seq, default=None)
    units = ANY if revocable is None else kernel.units_of(revocable)
    return Deployment(
        name=release.name,
        number=release.number,
        status=status,
        kind=release.kind,
        weight=0.0 if revocable is None else revocable.weight,
        bases=() if revocable is None else tuple(sorted(kernel.names(record.closure(revocable.bases)))),
        artifacts=tuple(sorted(release.artifacts)),
        digest=release.digest,
        warnings=release.warnings,
        note=release.note,
        created_at=recorded.at,
        created_by=recorded.by,
        since=recorded.at if change is None else change.at,
        by=recorded.by if change is None else change.by,
        reason="" if change is None else change.reason,
        attribution=staged.get("attribution", READS),
        pins={key: msgspec.structs.replace(pin, value=None) for key, pin in sorted(release.artifacts.items())},
        declared=msgspec.convert(staged[DECLARED], Declared) if DECLARED in staged else None,
        settle_after=None if revocable is None else revocable.settle_after,
        allow=tuple(sorted(units.allow)),
        deny=tuple(sorted(units.deny)),
        holdback=0.0 if revocable is None else revocable.holdback,
    )
