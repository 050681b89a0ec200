"""Launches: begin one and pilot it, list them, and what people ask of them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kedge.deployments import lifecycle
from kedge.errors import (
    DuplicateName,
    IllegalTransition,
    InvalidValue,
    OutcomeUnknown,
    PilotRuns,
    Retryable,
    UnknownName,
    nearest,
)
from kedge.guard import evidence, second_person
from kedge.guard.callers import caller, person
from kedge.guard.declaring import declare, declared
from kedge.guard.launch_report import Kept, LaunchPlan, LaunchStatus, status_of, steps_of
from kedge.guard.launch_state import ENDED, Phase
from kedge.guard.metrics import Metric
from kedge.guard.pilot import LEASE_SECONDS, OnEvent, Pilot, gates_of
from kedge.guard.release import Notify, Release, ReleaseFile, read_release
from kedge.guard.slo import keep_slo
from kedge.model.artifacts import as_artifact, manifest_digest
from kedge.model.checks import check_name, check_seconds
from kedge.model.control import Status
from kedge.model.control_log import NewEntry
from kedge.model.ladder import LevelSource, Scope
from kedge.model.launches import PilotLost, StoredLaunch
from kedge.model.numbers import as_real
from kedge.model.upgrade import GUARD_SINCE
from kedge.support.display import brief
from kedge.support.failpoints import reach
from kedge.turns import approvals
from kedge.turns.kernel import Kernel, actor

Source = str | Path | Mapping[str, Any] | Release | ReleaseFile
EVERY_SECONDS = 2.0
BATCH_SECONDS_MAX = 10.0
LEASE_SECONDS_MIN, LEASE_SECONDS_MAX = 1.0, 3_600.0
_LOOSENING = ("resume", "approve")  # what agents may not ask for
_STARTABLE = (Status.STAGED, Status.CANARY)


def plan(kernel: Kernel, source: Source) -> LaunchPlan:
    """Run the gates and return what a launch would do; change nothing."""
    kernel.check_fence("launches", GUARD_SINCE)
    wanted = read_release(source)
    release = wanted.release
    warnings: tuple[str, ...] = ()
    if kernel.backend.control.number_of(release.deployment) is None:
        _must_have_artifacts(wanted)
        warnings = (f"{release.deployment} is not staged yet, so the gates that look at it have not run",)
        return LaunchPlan(release.deployment, release, release.digest, (), steps_of(release), warnings)
    _check_staged(kernel, wanted)
    blocking = kernel.backend.launches.blocking()
    if blocking:
        warnings = (f"promotions are paused: the launch {blocking[0]!r} was rolled back; run `kedge launch resume`",)
    gates = tuple(gates_of(kernel, release))
    return LaunchPlan(release.deployment, release, release.digest, gates, steps_of(release), warnings)


def launch(
    kernel: Kernel,
    source: Source,
    *,
    by: str | None = None,
    once: bool = False,
    every: float = EVERY_SECONDS,
    lease: float = LEASE_SECONDS,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> LaunchStatus:
    """Begin a launch or go on with it, and pilot it until it ends, or for one look."""
    seconds, lease = check_seconds("every", every) or EVERY_SECONDS, check_lease(lease)
    wanted = read_release(source)
    name, notify = begin(kernel, wanted, by=by), wanted.release.notify
    return pilot(kernel, name, once=once, every=seconds, lease=lease, notify=notify, on_event=on_event, stop=stop)


def check_lease(seconds: object) -> float:
    """Return the seconds of a pilot's lease, or raise `InvalidValue`."""
    number = as_real(seconds)
    if number is None or not LEASE_SECONDS_MIN <= number <= LEASE_SECONDS_MAX:
        raise InvalidValue(
            f"invalid lease {brief(seconds)}: must be from {LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g} seconds"
        )
    return float(number)


def pilot(
    kernel: Kernel,
    name: str,
    *,
    once: bool = False,
    every: float = EVERY_SECONDS,
    lease: float = LEASE_SECONDS,
    notify: Notify | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> LaunchStatus:
    """Pilot a launch that has begun, until it ends or `stop` is set, or for one look.

    Where notices go is the caller's to say: no command and no address is taken from the database.
    """
    ends, looked_back = stop or threading.Event(), False
    lease, batch = check_lease(lease), 0.0 if once else min(5 * every, BATCH_SECONDS_MAX)
    with Pilot(kernel, name, on_event=on_event, lease_seconds=lease, notify=notify, batch_seconds=batch) as runs:
        while True:
            try:
                status, more = runs.look()
            except (Retryable, OutcomeUnknown):  # its operation id says whether it was done
                if once:
                    raise
                ends.wait(every)
                continue
            except PilotLost as error:
                raise PilotRuns(f"{error}; this one has stopped") from None
            waits = status.phase == Phase.GATES and bool(status.why)
            if status.ended or ends.is_set() or waits:
                return _left(status)
            if once and not more and (looked_back or status.phase != Phase.ROLLING_BACK):
                return _left(status)
            looked_back = status.phase == Phase.ROLLING_BACK  # the next look sees that it is rolled back
            if not more and not once:
                ends.wait(every)


def _left(status: LaunchStatus) -> LaunchStatus:
    """Return a status as it is once this pilot has given its lease back."""
    return msgspec.structs.replace(status, pilot=None, until=None)


def begin(kernel: Kernel, source: Source, *, by: str | None) -> str:
    """Record a launch with its frozen settings before its first session; return its name, which the deployment has."""
    kernel.check_fence("launches", GUARD_SINCE)
    wanted = read_release(source)
    release, who = msgspec.structs.replace(wanted.release, notify=Notify()), actor(by)
    port, name = kernel.backend.launches, release.deployment
    found = port.get(name)
    if found is not None:
        _check_same(found, release)
        return name
    if kernel.backend.control.number_of(name) is None:
        _deploy(kernel, wanted, who)
        reach("launch:deployed")
    _check_staged(kernel, wanted)
    _declare(kernel, release, who)
    keep_slo(kernel, release.slo, by=who)
    now = port.now()
    entry = NewEntry(
        evidence.operation_of(name), evidence.BEGIN, who, name,
        detail={"digest": release.digest, "release": release.to_json()},
    )  # fmt: skip
    fresh = StoredLaunch(
        name, release.digest, msgspec.json.encode(release), msgspec.json.encode(Kept()), 0, 0, str(Phase.GATES),
        blocks=False, trouble="", begun_at=now, changed_at=now, begun_by=who,
    )  # fmt: skip
    if not port.begin(fresh, entry):
        begun = port.get(name)
        if begun is not None:
            _check_same(begun, release)
    reach("launch:begun")
    return name


def _declare(kernel: Kernel, release: Release, who: str) -> None:
    """Declare the metrics that the database does not know, so that their values are checked at the door."""
    known = declared(kernel)
    for metric in release.metrics:
        there = known.get(metric.name)
        if there is not None and _checked(there) != _checked(metric):
            raise InvalidValue(
                f"the metric {metric.name!r} is declared otherwise in this database ({_checked(there)}, not "
                f"{_checked(metric)}): use the same kind and bounds, or another name"
            )
    missing = [metric for metric in release.metrics if metric.name not in known]
    if missing:
        declare(kernel, missing, reason=f"the launch of {release.deployment}", by=who)


def _checked(metric: Metric) -> tuple[object, ...]:
    """Return what a value of a metric is checked against."""
    return metric.kind, metric.low, metric.high, metric.better


def _check_same(found: StoredLaunch, release: Release) -> None:
    if found.phase in ENDED and found.done >= found.version:
        raise IllegalTransition(
            f"the launch {found.name!r} has ended ({found.phase}); deploy under another name to launch again"
        )
    if found.digest != release.digest:
        raise InvalidValue(
            f"the release of {found.name!r} has changed since its launch began: its settings were frozen as "
            f"{found.digest}, these are {release.digest}; go on with `kedge launch {found.name}`, or abort it"
        )


def _deploy(kernel: Kernel, wanted: ReleaseFile, who: str) -> None:
    artifacts = _must_have_artifacts(wanted)
    try:
        lifecycle.deploy(
            kernel, wanted.release.deployment, artifacts, canary=None, independent=False, base=None, by=who, note=""
        )
    except DuplicateName:
        return  # another process was faster; it is compared below


def _must_have_artifacts(wanted: ReleaseFile) -> dict[str, Any]:
    if wanted.artifacts is None:
        name = wanted.release.deployment
        raise UnknownName(
            f"no deployment is named {name!r}; stage it with `kedge deploy {name}`, or add a table [artifacts]"
        )
    return wanted.artifacts


def _check_staged(kernel: Kernel, wanted: ReleaseFile) -> None:
    name = wanted.release.deployment
    there = lifecycle.show(kernel, name)
    if there.status not in _STARTABLE:
        raise IllegalTransition(f"cannot launch {name!r}: it is {there.status}; launch one that is staged")
    if wanted.artifacts is None:
        return
    digest = manifest_digest({key: as_artifact(key, value) for key, value in wanted.artifacts.items()})
    if digest != there.digest:
        raise DuplicateName(
            f"a deployment named {name!r} exists already with other artifacts ({there.digest}); names are never used "
            "twice: choose another name, or leave [artifacts] out"
        )


# ── what people ask ──


def launches(kernel: Kernel) -> list[LaunchStatus]:
    """Return all launches, the newest first."""
    now = kernel.backend.launches.now()
    return [status_of(stored, now) for stored in kernel.backend.launches.all()]


def status(kernel: Kernel, name: str) -> LaunchStatus:
    """Return where a launch stands, or raise `UnknownName`."""
    return status_of(_find(kernel, name), kernel.backend.launches.now())


def _find(kernel: Kernel, name: str) -> StoredLaunch:
    found = kernel.backend.launches.get(check_name("the launch", name))
    if found is None:
        known = [each.name for each in kernel.backend.launches.all()]
        raise UnknownName(f"no launch is named {name!r}{nearest(name, known)}; `kedge launch list` lists them")
    return found


def ask(kernel: Kernel, name: str, verb: str, *, by: str | None, reason: str = "", keep: bool = False) -> LaunchStatus:
    """Record what a person asks of a launch; take it in at once where no pilot runs. Return where it stands."""
    kernel.check_fence("launches", GUARD_SINCE)
    may_loosen = verb in _LOOSENING or keep
    who = person(by, f"{verb} the launch {name!r}") if may_loosen else caller(by)[0]
    found = _find(kernel, name)
    if found.phase in ENDED:
        raise IllegalTransition(f"cannot {verb} the launch {name!r}: it has ended ({found.phase})")
    if verb == "approve" and found.phase != Phase.APPROVAL:
        why = "; ".join(status_of(found, kernel.backend.launches.now()).why)
        raise IllegalTransition(
            f"cannot approve the launch {name!r}: it does not wait for approval (phase: {found.phase}"
            f"{f'; {why}' if why else ''})"
        )
    if verb == "resume":
        _check_alone(kernel, name, by=who, reason=reason)
    body = msgspec.json.encode(
        {"number": 0, "verb": verb, "by": who, "reason": reason, "keep": keep} | {"id": kernel.backend.clock.fresh_id()}
    )
    entry = NewEntry(
        evidence.operation_of(name),
        evidence.REQUEST,
        who,
        name,
        reason,
        {"verb": verb} | ({"keep": True} if keep else {}),
    )
    kernel.backend.launches.ask(name, body, entry)
    try:
        return pilot(kernel, name, once=True)
    except PilotRuns:
        return status(kernel, name)


def _check_alone(kernel: Kernel, name: str, *, by: str, reason: str) -> None:
    """Raise `ApprovalNeeded` where two persons are required and the guard's entry of a launch still stands."""
    record = kernel.backend.control.load()
    scope = Scope("deployment", name)
    for entry in record.entries if record.two_persons else ():
        if entry.scope == scope and entry.source is LevelSource.GUARD:
            raise approvals.needed(second_person.ask(kernel, "loosen", by=by, reason=reason, entry=entry))


def resume(kernel: Kernel, name: str | None, *, by: str | None, reason: str = "") -> list[str]:
    """Let promotions go on after an automatic rollback, and a launch that a person has paused; return what went on."""
    kernel.check_fence("launches", GUARD_SINCE)
    who, went_on = person(by, "resume launches"), []
    if name is not None:
        found = _find(kernel, name)
        if found.phase not in ENDED:
            ask(kernel, name, "resume", by=by, reason=reason)
            return [name]
        if not found.blocks:
            raise IllegalTransition(f"cannot resume the launch {name!r}: it has ended ({found.phase})")
    entry = NewEntry(
        f"launch-resume:{kernel.backend.clock.fresh_id()}", "launch:promotions-resumed", who, reason=reason
    )
    went_on += kernel.backend.launches.unblock(entry)
    return went_on
