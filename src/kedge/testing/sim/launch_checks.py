"""Invariants of the launch simulation, checked by real time and from what took effect, not from what nodes believe."""

import math
from typing import Any

import msgspec

from kedge.guard import FailureTest, engine
from kedge.guard.launch_state import Action, LaunchUnit, Phase, State, World
from kedge.guard.noninferiority import NonInferiorityTest
from kedge.model.control import Status
from kedge.model.ladder import LevelSource, effective
from kedge.model.rights import may
from kedge.testing.sim.checks import Violation
from kedge.testing.sim.engine import World as Simulation
from kedge.testing.sim.launch_store import CANARY, LaunchStore, Logged, Row, Seat

COMPARING = (Phase.RAMP, Phase.APPROVAL, Phase.PROMOTING)
TRUSTED = 1e-9  # of the logarithms of e-values that are computed again


class LaunchChecks:
    """The observer: it sees each change as it takes effect, and computes anew what the guard claims."""

    def __init__(self, world: Simulation, store: LaunchStore, drift: float) -> None:
        self._world, self._store, self._drift = world, store, drift
        self._since: dict[str, float] = {}  # when each level entry took effect, in real time
        self._of_persons: set[str] = set()
        self._done: set[tuple[int, int]] = set()
        self._rolled_back = False
        self.actions: list[str] = []
        self.effects = self.outside = 0
        store.on_look, store.on_action = self.looked, self.acted
        store.on_entries, store.on_effect = self.changed, self.effect

    # ── as things take effect ──

    def looked(self, row: Row) -> None:
        """Check that a look is stored only once the actions of the one before are done."""
        if row.done < row.version:
            raise Violation(f"version {row.version + 1} was stored while the actions of {row.version} were not done")

    def acted(self, version: int, place: int, action: Action) -> None:
        """Check an action of the guard as it takes effect."""
        self.actions.append(action.kind)
        if version != self._store.row.version:
            raise Violation(f"{action.kind} of version {version} took effect in version {self._store.row.version}")
        if (version, place) in self._done:
            raise Violation(f"{action.kind} of version {version} took effect twice")
        self._done.add((version, place))
        if self._rolled_back and action.kind in ("canary", "promote", "settle", "loosen"):
            raise Violation(f"{action.kind} after the rollback, which is final")
        if action.kind == "promote":
            self._promoted()
        self._rolled_back = self._rolled_back or action.kind == "roll_back"

    def changed(self, source: LevelSource) -> None:
        """Note when level entries take effect; check that only a person lifts what a person has set."""
        now, entries = self._world.time, self._store.entries
        lifted = self._of_persons - set(entries)
        if lifted and source is not LevelSource.PERSON:
            raise Violation(f"the {source} lifted {', '.join(sorted(lifted))}, which a person has set")
        self._of_persons = {entry.id for entry in entries.values() if entry.source is LevelSource.PERSON}
        self._since = {entry_id: self._since.get(entry_id, now) for entry_id in entries}
        record = self._store.record
        status = next((record.status(found) for found in record.deployments if found.name == CANARY), None)
        if self._rolled_back and status not in (Status.ROLLED_BACK, None):
            raise Violation(f"the canary is {status} after the guard rolled it back")

    def effect(self, epoch: int, session: str, arm: str) -> None:
        """Check an effect that the database took: the levels of now permit it."""
        self.effects += 1
        if not self._permits(arm, session, self._store.entries.values()):
            raise Violation(f"an effect of epoch {epoch} was taken in epoch {self._store.record.epoch}, which stops it")

    def acted_outside(self, who: str, seat: Seat, lease_seconds: float) -> None:
        """Check an effect outside the database: what forbids it is younger than a lease."""
        self.outside += 1
        late = lease_seconds / (1 - self._drift) + 1e-6
        old = [entry for entry in self._store.entries.values() if self._world.time - self._since[entry.id] > late]
        if not self._permits(seat.arm, str(seat.number), old):
            raise Violation(f"{who} acts, a lease after {', '.join(str(entry.level) for entry in old)} took effect")

    @staticmethod
    def _permits(arm: str, session: str, entries: Any) -> bool:
        deployments = frozenset({CANARY}) if arm == "canary" else frozenset()
        level = effective(entries, feature="support", session=session, deployments=deployments)
        return may(level, "act", reversibility="irreversible").permits

    def _promoted(self) -> None:
        """Check a promotion against the sessions themselves, not against what the guard counted."""
        store, release = self._store, self._store.release
        units = [unit for logged in store.looks for unit in _units(logged)]
        margin, harm = NonInferiorityTest(release.limits["resolved"].margin), FailureTest()
        for unit in units:
            verdict = unit.verdicts["resolved"]
            harm.observe(unit.arm, verdict if verdict is not None else unit.arm == "canary", unit.share)
            if verdict is not None:
                margin.observe(unit.arm, float(verdict), unit.share)
        if margin.peak < 1 / release.alpha:
            raise Violation(f"promoted with e = {margin.peak:.3g} for no harm, of {1 / release.alpha:g}")
        if harm.peak >= 1 / release.alpha:
            raise Violation(f"promoted with e = {harm.peak:.3g} of harm")
        if min(harm.sessions) < sum(release.min_sessions):
            raise Violation(f"promoted after {harm.sessions} sessions")

    # ── at the end ──

    def finish(self, *, is_bad: bool) -> None:
        """Check the end: every look is explained by the log, nothing is left to do, and a bad canary is gone."""
        store = self._store
        self._recompute()
        state = msgspec.json.decode(store.row.state, type=State)
        left = [action.kind for action in store.row.actions]
        if store.row.done < store.row.version and left:
            raise Violation(f"actions of version {store.row.version} were never done: {left}")
        is_held = any("missing" in why for why in state.why)  # with verdicts missing unequally it holds, for good
        if is_bad and not self._rolled_back and not is_held:
            raise Violation(f"a bad canary is still in phase {state.phase!r}: {'; '.join(state.why)}")
        if any(entry.source is LevelSource.PERSON for entry in store.entries.values()):
            raise Violation("the stop was never lifted")

    def _recompute(self) -> None:
        """Compute every look again from the log alone; sessions come once, in the order of their assignment."""
        store, state, taken = self._store, State(), 0
        harm = FailureTest()
        for place, logged in enumerate(store.looks, 1):
            units, world = _units(logged), msgspec.json.decode(logged.world, type=World)
            if logged.version != place or logged.first != taken:
                raise Violation(f"look {place} is version {logged.version} and begins with session {logged.first}")
            for unit, seat in zip(units, store.seats[taken:], strict=False):
                if (unit.arm, unit.share, unit.era) != (seat.arm, seat.share, seat.era):
                    raise Violation(f"look {place} took another session for number {seat.number}")
            taken += len(units)
            outcome = engine.advance(store.release, state, units, world)
            stored = msgspec.json.decode(logged.state, type=State)
            if msgspec.json.encode(outcome.state) != logged.state or outcome.actions != logged.actions:
                raise Violation(f"look {place} cannot be computed again: {outcome.state.phase} for {stored.phase}")
            self._compare(harm, units, stored, place)
            state = stored

    def _compare(self, harm: FailureTest, units: list[LaunchUnit], state: State, place: int) -> None:
        """Compare the e-value of a look with one that was carried through all looks, and the rollback with it."""
        if state.phase not in COMPARING:
            return
        for unit in units:
            verdict = unit.verdicts["resolved"]
            harm.observe(unit.arm, verdict if verdict is not None else unit.arm == "canary", unit.share)
        document = state.measures.get("resolved")
        if document is not None and document.harm is not None:
            claimed = FailureTest.from_json(document.harm)
            if not math.isclose(claimed.log_e, harm.log_e, rel_tol=TRUSTED, abs_tol=TRUSTED):
                raise Violation(f"look {place} claims e = {claimed.e:.4g}, the sessions give {harm.e:.4g}")
        if harm.peak >= 1 / self._store.release.alpha and min(harm.sessions):  # it holds until both arms have data
            raise Violation(f"look {place} has seen e = {harm.peak:.4g} and is in phase {state.phase!r}")


def _units(logged: Logged) -> list[LaunchUnit]:
    return msgspec.json.decode(logged.units, type=list[LaunchUnit])
