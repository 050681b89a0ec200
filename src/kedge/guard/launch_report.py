"""Reports of a launch: where it stands, why it holds, and what it does next."""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from kedge.guard.bets import plain
from kedge.guard.engine import Look
from kedge.guard.gates import GateResult
from kedge.guard.launch_state import ENDED, Action, Phase, Rung, State, World
from kedge.guard.release import Release
from kedge.model.control import Status
from kedge.model.durations import duration
from kedge.model.launches import StoredLaunch
from kedge.support.display import Report, Value

_PROMOTED = (Phase.WATCH, Phase.SETTLING, Phase.FINISHED)


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the row of a launch keeps: its state, the seq up to which sessions were taken, and what to do."""

    state: State = State()
    after: int = 0
    events: int = 0  # the number of the last hard event that was looked at
    actions: tuple[Action, ...] = ()


class MetricStatus(Value, frozen=True):
    """One metric of a launch: its e-value against the canary beside its limits, and the size of the difference.

    `low` and `high` bound the difference canary minus baseline at all times at once; more is better, and a latency's is
    in ranks. `proven`: the e-value of its non-inferiority, which a promotion needs at `needs`; None for a signal.
    """

    name: str
    e: float
    peak: float
    hold: float
    degrade: float
    limit: float | None
    low: float
    high: float
    margin: float
    proven: float | None
    needs: float | None
    more: int | None
    watch: float
    seen: tuple[int, int]
    missing: tuple[int, int]


class LaunchStatus(Report, frozen=True):
    """Where a launch stands. Pairs of sessions are the canary's and the baseline's.

    `why`: why it holds, or what ended it; `next`: what it does next. `pilot` runs it until `until`, unless it renews
    its lease; None: no pilot runs. `notices_failed`: notices that could not be sent by this pilot.
    """

    name: str
    phase: str
    stage: int
    stages: int
    weight: float
    level: str
    sessions: tuple[int, int]
    stage_sessions: tuple[int, int]
    needed: tuple[int, int]
    watched: tuple[int, int]
    metrics: tuple[MetricStatus, ...]
    why: tuple[str, ...]
    next: str
    begun_at: float
    begun_by: str
    changed_at: float
    digest: str
    looks: int
    blocks: bool = False
    pilot: str | None = None
    until: float | None = None
    notices_failed: int = 0
    notice_failure: str = ""

    @property
    def ended(self) -> bool:
        """Whether the launch has ended."""
        return self.phase in ENDED

    def __str__(self) -> str:
        """Return the verdict."""
        why = f": {'; '.join(self.why)}" if self.why else ""
        return f"{self.name} is {self.phase}{why}"


class LaunchEvent(Value, frozen=True):
    """What happened at a look: sentences for people, and where the launch stands then."""

    texts: tuple[str, ...]
    status: LaunchStatus


class LaunchPlan(Report, frozen=True):
    """What a launch would do: nothing was changed."""

    name: str
    release: Release
    digest: str
    gates: tuple[GateResult, ...]
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)

    def __str__(self) -> str:
        """Return the verdict."""
        failed = [gate.name for gate in self.gates if not gate.passed]
        skipped = [gate.name for gate in self.gates if gate.skipped]
        passed = "every gate passed" if self.gates else "no gate has run yet"
        verdict = f"gates failed: {', '.join(failed)}" if failed else passed
        return f"{self.name}: {verdict}" + (f"; skipped: {', '.join(skipped)}" if skipped else "")


def status_of(stored: StoredLaunch, now: float) -> LaunchStatus:
    """Return where a launch stands, as it is stored."""
    release = msgspec.json.decode(stored.release, type=Release)
    state = msgspec.json.decode(stored.state, type=Kept).state
    is_piloted = stored.until is not None and stored.until >= now
    least = release.min_sessions[state.stage] if state.phase is Phase.RAMP else 0
    return LaunchStatus(
        name=stored.name,
        phase=str(state.phase),
        stage=state.stage + 1,
        stages=len(release.ramp),
        weight=1 - release.holdback if state.phase in _PROMOTED else state.weight,
        level="supervised" if state.rung is Rung.DEGRADE else "full",
        sessions=state.seen,
        stage_sessions=state.in_stage,
        needed=(max(0, least - state.in_stage[0]), max(0, least - state.in_stage[1])),
        watched=state.watched,
        metrics=_metrics(release, state),
        why=(*state.why, *([stored.trouble] if stored.trouble and stored.trouble not in state.why else [])),
        next=_next(release, state, now),
        begun_at=stored.begun_at,
        begun_by=stored.begun_by,
        changed_at=stored.changed_at,
        digest=stored.digest,
        looks=stored.version,
        blocks=stored.blocks,
        pilot=stored.host if is_piloted else None,
        until=stored.until if is_piloted else None,
    )


def _metrics(release: Release, state: State) -> tuple[MetricStatus, ...]:
    look = Look(release, state, World(0.0, Status.STAGED, 0.0))
    guard = release.guard
    limits = {metric.name: math.exp(guard.log_threshold(metric)) for metric in guard.metrics}
    found = []
    for name, measure in look.measures.items():
        interval, is_guardrail = measure.interval, name in limits
        needs = 1 / release.alpha
        found.append(
            MetricStatus(
                name=name,
                e=measure.harm.e,
                peak=measure.harm.peak,
                hold=release.hold,
                degrade=release.degrade,
                limit=limits.get(name),
                low=interval.low,
                high=interval.high,
                margin=measure.limits.margin,
                proven=measure.margin.peak if is_guardrail else None,
                needs=needs if is_guardrail else None,
                more=measure.margin.more_sessions(needs) if is_guardrail else None,
                watch=plain(measure.watch.evidence.log_peak),
                seen=(measure.seen[0], measure.seen[1]),
                missing=(measure.missing[0], measure.missing[1]),
            )
        )
    return tuple(found)


def _next(release: Release, state: State, now: float) -> str:
    """Return what a launch does next, and when."""
    if state.phase in ENDED:
        return "nothing: it has ended"
    if state.phase is Phase.ROLLING_BACK:
        return "rolls back now"
    if state.phase is Phase.GATES:
        return f"starts the canary at {release.ramp[0] * 100:.4g}% once every gate passes"
    if state.phase is Phase.RAMP:
        soaked = state.stage_since + release.soak[state.stage]
        not_before = f", not before {_utc(soaked)}" if soaked > now else ""
        if state.stage + 1 < len(release.ramp):
            return f"raises the weight to {release.ramp[state.stage + 1] * 100:.4g}%{not_before}"
        asks = "asks for approval" if release.approval else "promotes"
        return f"{asks} once every metric is shown to be no worse{not_before}"
    if state.phase is Phase.APPROVAL:
        return "promotes once a person has approved"
    if state.phase is Phase.PROMOTING:
        return f"promotes, with a holdback of {release.holdback * 100:.4g}%"
    ends = state.promoted_at + (release.watch if release.settle_after is None else release.settle_after)
    return f"{'ends' if release.settle_after is None else 'settles'} at {_utc(ends)}"


def steps_of(release: Release) -> tuple[str, ...]:
    """Return what a launch does, in sentences."""
    names = ", ".join(metric.name for metric in release.compared)
    ramp = (
        f"canary at {weight * 100:.4g}%: {sessions:,} sessions of each arm, {duration(soak)} at least"
        for weight, sessions, soak in zip(release.ramp, release.min_sessions, release.soak, strict=True)
    )
    lines = ["run the gates", f"take the snapshot {snapshot_of(release.deployment)}", *ramp]
    lines.append(f"promote once each metric is shown to be no worse by its margin: {names}")
    if release.approval:
        lines.insert(-1, "wait for `kedge launch approve`")
    lines.append(
        f"hold it back from {release.holdback * 100:.4g}% of the sessions, and watch it for {duration(release.watch)}"
    )
    if release.settle_after is not None:
        lines.append(f"settle it {duration(release.settle_after)} after the promotion")
    return tuple(lines)


def snapshot_of(name: str) -> str:
    """Return the name of the snapshot that a launch takes."""
    return f"launch:{name}"


def notice_of(name: str, number: int, text: str, state: State) -> dict[str, Any]:
    """Return a notice: what happened to a launch, with an id by which a receiver drops repeats."""
    return {
        "id": f"{name}:{number}",
        "launch": name,
        "text": text,
        "phase": str(state.phase),
        "weight": state.weight,
        "why": list(state.why),
    }


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
