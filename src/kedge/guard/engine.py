"""Engine of a launch: what the next step is, from the settings, the state and one look. Pure: no I/O, no clock."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from kedge.guard.balance import BalanceTest
from kedge.guard.cusum import HoldbackTest
from kedge.guard.decisions import Evidence, Step, decide
from kedge.guard.launch_state import (
    BEFORE_PROMOTION,
    ENDED,
    RUNGS,
    Action,
    LaunchUnit,
    Outcome,
    Phase,
    Request,
    Rung,
    State,
    World,
)
from kedge.guard.measure import Measure, MeasureState
from kedge.guard.release import DAY_SECONDS, Release
from kedge.model.control import Status

SRM_LIMIT = 1000.0  # e-value of a sample-ratio mismatch at which the launch holds
VANISHED_LOG = math.log(1e-6)  # the probability of so many sessions in a row without one of the canary
DOWNS_A_DAY = 2
CLOCK_SECONDS = 5.0  # by which a clock may go back without notice
RETRY_SECONDS = 60.0  # after an action that could not be done
_NOTHING = Evidence(0.0, 0.0)


class Look:
    """One look at a launch: the state and the tests as they change, and what is to be done."""

    def __init__(self, release: Release, state: State, world: World) -> None:
        self.release = release
        self.world = world
        self.state = state
        self.actions: list[Action] = []
        self.events: list[str] = []
        self.measures = {
            metric.name: Measure(metric, release.limits[metric.name], release, _of(state, metric.name))
            for metric in release.compared
        }
        self.balance = BalanceTest() if state.balance is None else BalanceTest.from_json(state.balance)

    def set(self, **fields: object) -> None:
        """Change fields of the state."""
        self.state = msgspec.structs.replace(self.state, **fields)

    def do(self, kind: str, *, weight: float = 0.0, text: str = "") -> None:
        """Ask for an action."""
        self.actions.append(Action(kind, weight, text))  # type: ignore[arg-type]  # one of its kinds

    def tell(self, text: str, *, notify: bool = False) -> None:
        """Record an event for people, and send it where the release says so."""
        self.events.append(text)
        if notify:
            self.do("notify", text=text)

    def outcome(self) -> Outcome:
        """Return the result."""
        if self.state.phase in ENDED:
            self.do("release")  # the snapshot would keep what a purge erases
        measures = {name: measure.state() for name, measure in self.measures.items()}
        state = msgspec.structs.replace(self.state, measures=measures, balance=self.balance.to_json())
        return Outcome(state, tuple(self.actions), tuple(self.events))


def _of(state: State, name: str) -> MeasureState:
    return state.measures.get(name, MeasureState())


def advance(release: Release, state: State, units: Sequence[LaunchUnit], world: World) -> Outcome:
    """Return what a look makes of a launch: the units in order of assignment, and what else it found."""
    look = Look(release, state, world)
    if state.phase in ENDED:
        return Outcome(state)
    for request in world.requests:
        _answer(look, request)
    if _follow_status(look):
        return look.outcome()
    _take(look, units)
    why = _failure(look)
    if why is not None:
        _begin_rollback(look, why, by_guard=True)
    elif look.state.phase is not Phase.ROLLING_BACK:
        _climb(look)
        _move_on(look)
    return look.outcome()


# ── people, and the status of the deployment ──


def _answer(look: Look, request: Request) -> None:
    said = f" ({request.reason})" if request.reason else ""
    look.set(requests=request.number)
    if request.verb == "pause":
        look.set(paused=f"paused by {request.by}{said}")
        look.tell(f"paused by {request.by}{said}")
    elif request.verb == "resume":
        if look.state.rung is Rung.DEGRADE and look.world.status in (Status.CANARY, Status.LIVE):
            look.do("loosen", text=f"resumed by {request.by}{said}")
        look.set(paused="", latched=False, downs=(), rung=Rung.NONE, calm=0)
        look.tell(f"resumed by {request.by}{said}")
    elif request.verb == "approve":
        look.set(approved_by=request.by)
        look.tell(f"approved by {request.by}{said}")
    elif look.state.phase is Phase.ROLLING_BACK:
        look.tell(f"{request.by} asked to abort it{said}; it is being rolled back already")
    elif request.keep or look.state.phase is Phase.GATES:
        look.set(phase=Phase.ABORTED, why=(f"aborted by {request.by}{said}",))
        look.tell(f"aborted by {request.by}{said}; the deployment stays as it is", notify=True)
    else:
        _begin_rollback(look, f"aborted by {request.by}{said}", by_guard=False)


def _follow_status(look: Look) -> bool:
    """Follow what the deployment is; return whether that ends the look."""
    state, world = look.state, look.world
    if state.phase in ENDED:
        return True
    if world.status in (Status.ROLLED_BACK, Status.PURGED):
        ours = state.phase is Phase.ROLLING_BACK
        why = state.why if ours else (f"{world.status} by {world.by or 'somebody'}",)
        look.set(phase=Phase.ROLLED_BACK, why=why)
        look.tell(f"{world.status}: {'; '.join(why)}", notify=not ours)
        return True
    if world.status is Status.SETTLED:
        look.set(phase=Phase.SETTLED, why=())
        look.tell("settled", notify=True)
        return True
    if state.phase is Phase.ROLLING_BACK:
        look.do("roll_back", text="; ".join(state.why))
        return True
    if world.status is Status.LIVE and state.phase in BEFORE_PROMOTION:
        look.set(phase=Phase.WATCH, promoted_at=world.since, run=0.0, last_session_at=world.now)
        look.tell(f"promoted by {world.by}; the holdback is watched", notify=True)
    return False


def _begin_rollback(look: Look, why: str, *, by_guard: bool) -> None:
    look.set(phase=Phase.ROLLING_BACK, why=(why,), blocks=by_guard)
    look.do("roll_back", text=why)
    look.tell(f"rolling back: {why}", notify=True)


# ── sessions ──


def _take(look: Look, units: Sequence[LaunchUnit]) -> None:
    """Take sessions into the tests, in order of assignment."""
    world = look.world
    if look.state.stage_era is None and look.state.phase is Phase.RAMP and not world.trouble:
        look.set(stage_era=world.era)
    if units:
        look.set(last_session_at=world.now)
    for unit in units:
        if unit.is_first:
            look.balance.observe(unit.arm, unit.share)
        for name, measure in look.measures.items():
            if name in unit.verdicts:
                verdict = unit.verdicts[name]
                measure.take(unit.arm, unit.share, verdict, is_first=unit.is_first, is_promoted=unit.is_promoted)
        _count(look, unit)


def _count(look: Look, unit: LaunchUnit) -> None:
    state = look.state
    has_verdict = any(verdict is not None for verdict in unit.verdicts.values())
    run = state.run
    if has_verdict and unit.is_first:
        run = 0.0 if unit.arm == "canary" else run + (math.log1p(-unit.share) if unit.share < 1 else 0.0)
    in_stage = state.stage_era is not None and unit.era >= state.stage_era and not unit.is_promoted
    is_calm = all(evidence.log_e < 0 for evidence in _evidence(look).values())
    look.set(
        seen=_plus(state.seen, unit),
        in_stage=_plus(state.in_stage, unit) if in_stage else state.in_stage,
        watched=_plus(state.watched, unit) if unit.is_promoted else state.watched,
        calm=state.calm + 1 if is_calm else 0,
        run=run,
    )


def _plus(counts: tuple[int, int], unit: LaunchUnit) -> tuple[int, int]:
    canary, baseline = counts
    return (canary + 1, baseline) if unit.arm == "canary" else (canary, baseline + 1)


def _evidence(look: Look) -> dict[str, Evidence]:
    """Return the evidence against the canary by guardrail. One without data has none: `faults` holds for it."""
    guardrails = {name: each for name, each in look.measures.items() if each.metric.role == "guardrail"}
    return {name: measure.evidence or _NOTHING for name, measure in guardrails.items()}


# ── decisions ──


def _failure(look: Look) -> str | None:
    """Return why the deployment is rolled back now, or None."""
    state, release = look.state, look.release
    if state.phase in (Phase.GATES, Phase.ROLLING_BACK):
        return None
    if look.world.hard:
        return f"safety event: {'; '.join(look.world.hard)}"
    if state.run <= VANISHED_LOG:
        return "the canary has vanished: no session of it has a verdict, while those of the baseline go on"
    decision = decide(release.guard, _evidence(look))
    if decision.step is Step.ROLL_BACK:
        return decision.reason
    for name, measure in look.measures.items():
        if measure.metric.role != "guardrail":
            continue
        test = measure.watch
        if isinstance(test, HoldbackTest):
            if test.alarm:
                return f"worse than the holdback since the promotion: {name}, statistic {test.peak:.4g}"
        elif test.evidence.log_peak >= _log_threshold(release, name):
            return f"worse than the holdback since the promotion: {name}, e = {test.peak:.4g}"
    return None


def _log_threshold(release: Release, name: str) -> float:
    guard = release.guard
    return guard.log_threshold(next(metric for metric in guard.metrics if metric.name == name))


def _climb(look: Look) -> None:
    """Step up at once where the evidence says so; step back by one rung after a calm time."""
    state, world = look.state, look.world
    if state.phase is Phase.GATES:
        return
    wanted, why = _wanted_rung(look)
    at = RUNGS.index(state.rung)
    if RUNGS.index(wanted) > at:
        latched = state.latched or len(_recent(state, world.now)) >= DOWNS_A_DAY
        look.set(rung=wanted, rung_since=world.now, calm=0, latched=latched)
        if wanted is Rung.DEGRADE:
            look.do("tighten", text=why)
            look.tell(f"degraded to supervised, half the weight: {why}", notify=True)
        else:
            look.tell(f"the ramp is frozen: {why}", notify=True)
    elif at and not state.latched and not world.stopped and _is_calm(look, wanted, at):
        below = RUNGS[at - 1]
        downs = (*_recent(state, world.now), world.now)
        look.set(rung=below, rung_since=world.now, calm=0, downs=downs)
        if state.rung is Rung.DEGRADE:
            look.do("loosen", text="all e-values stayed below 1")
            look.tell("the level and the weight are restored: all e-values stayed below 1", notify=True)
        else:
            look.tell("the ramp goes on: all e-values stayed below 1")


def _wanted_rung(look: Look) -> tuple[Rung, str]:
    """Return the rung that the evidence calls for now, and why."""
    decision = decide(look.release.guard, _evidence(look))
    alarms = [name for name, measure in look.measures.items() if measure.slo is not None and measure.slo.alarm]
    if alarms and not look.state.slo_alarm:
        look.set(slo_alarm=True)  # the alarm is latched: it degrades once
        return Rung.DEGRADE, f"{alarms[0]} is below its service level"
    if decision.step in (Step.DEGRADE, Step.ROLL_BACK):
        return Rung.DEGRADE, decision.reason
    if decision.step is Step.HOLD:
        return Rung.HOLD, decision.reason
    hold = look.release.hold
    for name, measure in look.measures.items():
        if measure.metric.role == "signal" and measure.harm.e >= hold:
            return Rung.HOLD, f"e = {measure.harm.e:.4g} of the signal {name}, limit {hold:.4g}"
    return Rung.NONE, ""


def _is_calm(look: Look, wanted: Rung, at: int) -> bool:
    state, release = look.state, look.release
    is_down = RUNGS.index(wanted) < at and state.calm >= release.recover_sessions
    return is_down and look.world.now - state.rung_since >= release.dwell


def _recent(state: State, now: float) -> tuple[float, ...]:
    return tuple(at for at in state.downs if at > now - DAY_SECONDS)


# ── the way on ──


def faults(look: Look) -> list[str]:
    """Return what is wrong with the data, for which the launch holds."""
    state, release, found = look.state, look.release, [*look.world.findings]
    if look.balance.e >= SRM_LIMIT:
        found.append(
            f"sample-ratio mismatch: {state.seen[0]} canary and {state.seen[1]} baseline sessions do not fit the weight"
        )
    if state.phase in BEFORE_PROMOTION or release.holdback:
        for measure in look.measures.values():
            found += measure.faults()
    late = max((metric.deadline for metric in release.metrics), default=0.0)
    if state.last_session_at and look.world.now - state.last_session_at > release.idle + late:
        found.append(f"no traffic: no session has become due since {_utc(state.last_session_at)}")
    back = state.last_session_at - look.world.now
    if back > CLOCK_SECONDS:
        found.append(f"the database's clock went back by {back:.0f} s: no session becomes due until it has caught up")
    return found


def _move_on(look: Look) -> None:
    """Do the next step of the phase, unless something holds it; say what."""
    state = look.state
    if state.phase is Phase.GATES:
        _open(look)
        return
    if state.phase in BEFORE_PROMOTION:
        _keep_weight(look)
    holds = [*_waits(look), *_rung_holds(look.state), *faults(look)]
    if look.world.trouble and not _may_retry(look):
        look.set(why=(look.world.trouble, *holds))
        return
    if state.phase is Phase.RAMP:
        _ramp(look, holds)
    elif state.phase in (Phase.APPROVAL, Phase.PROMOTING):
        _promote(look, holds)
    else:
        _watch(look, holds)


def _waits(look: Look) -> list[str]:
    """Return for which words of people it takes no step forward."""
    return [why for why in (look.state.paused, look.world.stopped) if why]


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _rung_holds(state: State) -> list[str]:
    if state.rung is Rung.NONE:
        return []
    latch = "; it changed twice within a day, so a person must resume it" if state.latched else ""
    return [f"the guard has {'frozen the ramp' if state.rung is Rung.HOLD else 'degraded it to supervised'}{latch}"]


def _open(look: Look) -> None:
    """Begin the canary once every gate has passed."""
    gates = look.world.gates
    failed = [gate for gate in gates or () if not gate.passed]
    waits = _waits(look)
    if gates is None or failed or waits:
        held = tuple(f"gate {gate.name} failed: {gate.detail}" for gate in failed)
        look.set(why=held or tuple(waits) or ("the gates have not run",))
        for each in held:
            look.tell(each)
        return
    weight = look.release.ramp[0]
    look.set(phase=Phase.RAMP, stage=0, stage_since=look.world.now, weight=weight, why=())
    look.set(last_session_at=look.world.now)
    look.do("snapshot")
    look.do("canary", weight=weight)
    look.tell(f"the gates passed; canary at {weight * 100:.4g}%", notify=True)


def _keep_weight(look: Look) -> None:
    """Bring the weight to what the stage and the rung want; pause where a person has set another."""
    state, world = look.state, look.world
    whole = look.release.ramp[state.stage]
    wanted = whole / 2 if state.rung is Rung.DEGRADE else whole
    if world.weight != state.weight and not world.trouble and world.status is Status.CANARY:
        if not state.paused:
            why = f"paused: {world.by or 'somebody'} set the weight to {world.weight * 100:.4g}%"
            look.set(paused=why)
            look.tell(why, notify=True)
        look.set(weight=world.weight)
        return
    waits = _waits(look)
    if wanted != state.weight and (not waits or wanted < state.weight):
        look.set(weight=wanted)
        look.do("canary", weight=wanted)
    elif world.trouble and world.weight != wanted and (not waits or wanted < world.weight) and _may_retry(look):
        look.set(tried_at=world.now)
        look.do("canary", weight=wanted)


def _may_retry(look: Look) -> bool:
    """Return whether to try an action again that could not be done."""
    return look.world.now - look.state.tried_at >= RETRY_SECONDS


def _ramp(look: Look, holds: list[str]) -> None:
    state, release = look.state, look.release
    least = min(state.in_stage)
    waits = []
    if least < release.min_sessions[state.stage]:
        arm = "canary" if state.in_stage[0] <= state.in_stage[1] else "baseline"
        waits.append(f"{release.min_sessions[state.stage] - least} more {arm} sessions in this stage")
    soaked = state.stage_since + release.soak[state.stage]
    if look.world.now < soaked:
        waits.append(f"soaks until {_utc(soaked)}")
    is_last = state.stage + 1 == len(release.ramp)
    if is_last:
        waits += unproven(look)
    look.set(why=(*holds, *waits))
    if holds or waits or look.world.trouble:
        return
    if is_last:
        look.set(phase=Phase.APPROVAL if release.approval else Phase.PROMOTING)
        look.tell("every metric is shown to be no worse, within its margin", notify=release.approval)
        _promote(look, [])
        return
    weight = release.ramp[state.stage + 1]
    look.set(
        stage=state.stage + 1, stage_since=look.world.now, stage_era=None, in_stage=(0, 0), weight=weight, why=()
    )  # fmt: skip
    look.do("canary", weight=weight)
    look.tell(f"stage {state.stage + 2} of {len(release.ramp)}: canary at {weight * 100:.4g}%", notify=True)


def unproven(look: Look) -> list[str]:
    """Return the guardrails that are not shown to be non-inferior yet, each in a sentence."""
    limit = 1 / look.release.alpha
    found = []
    for name, measure in look.measures.items():
        if measure.metric.role == "guardrail" and measure.margin.peak < limit:
            more = measure.margin.more_sessions(limit)
            about = "" if more is None else f", about {more} more sessions"
            found.append(
                f"{name} is not shown to be no worse by {measure.limits.margin:.4g}: e = {measure.margin.e:.3g}, "
                f"needs {limit:.4g}{about}"
            )
    return found


def _promote(look: Look, holds: list[str]) -> None:
    state = look.state
    if look.world.blocked and look.world.blocked != look.release.deployment:
        holds = [
            *holds,
            f"promotions are paused: the launch {look.world.blocked!r} was rolled back; run `kedge launch resume`",
        ]
    if look.release.approval and not state.approved_by:
        look.set(phase=Phase.APPROVAL)
        holds = [*holds, f"waits for approval: run `kedge launch approve {look.release.deployment}`"]
    look.set(why=tuple(holds))
    if not holds:
        if state.phase is not Phase.PROMOTING:
            look.set(phase=Phase.PROMOTING)
        look.set(tried_at=look.world.now)
        look.do("promote", weight=look.release.holdback)
        look.tell("promoting")


def _watch(look: Look, holds: list[str]) -> None:
    state, release, now = look.state, look.release, look.world.now
    ends = state.promoted_at + (release.watch if release.settle_after is None else release.settle_after)
    if now < ends:
        look.set(why=(*holds, f"watches the holdback until {_utc(ends)}"))
        return
    if release.holdback and not min(state.watched):
        holds = [*holds, "no comparison with the holdback: one of the two has no session since the promotion"]
    look.set(why=tuple(holds))
    if holds:
        return
    if release.settle_after is None:
        look.set(phase=Phase.FINISHED, why=())
        look.tell("finished: the watch has ended without an alarm", notify=True)
        return
    if state.phase is not Phase.SETTLING:
        look.set(phase=Phase.SETTLING)
        look.tell("settling")
    look.set(tried_at=now)
    look.do("settle")
