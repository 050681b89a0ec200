"""Defects planted in a launch: the simulator finds each within a bounded number of seeds, and names the law."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kedge.guard import engine, measure
from kedge.guard.decisions import Evidence
from kedge.guard.launch_state import Action, LaunchUnit, Outcome, State
from kedge.model.ladder import LevelEntry, LevelSource
from kedge.testing.sim.engine import Process
from kedge.testing.sim.launch_members import ServingNode
from kedge.testing.sim.launch_pilots import PilotNode
from kedge.testing.sim.launch_play import LaunchParts, play_launch
from kedge.testing.sim.launch_store import Found, LaunchStore, Row
from tests.sim.test_mutants import StandsStill

SEEDS = 120
Patch = pytest.MonkeyPatch


def first_violation(parts: LaunchParts | None = None) -> str:
    """Return what the simulator says of the first seed on which it finds the defect."""
    for seed in range(SEEDS):
        found = play_launch(seed, parts)
        if found.violation is not None:
            assert play_launch(seed, parts).violation == found.violation, "the seed replays it"
            return found.violation
    raise AssertionError(f"not found in {SEEDS} seeds")


# ── in what pilots and the database do ──


class FencesNobody(LaunchStore):
    """A pilot that has lost its lease stores its look all the same."""

    def advance(self, pilot: str, _version: int, found: Found, outcome: Outcome) -> None:
        self.row = msgspec.structs.replace(self.row, holder=pilot)
        super().advance(pilot, self.row.version, found, outcome)


class DoesLateActions(LaunchStore):
    """An action is done as often as it is asked for, whatever its name."""

    def act(self, version: int, place: int, operation: str, action: Action) -> None:
        self.applied.discard(operation)
        super().act(version, place, operation, action)


class ForgetsTheCursor(LaunchStore):
    """Every tenth look does not keep how many sessions it took."""

    def advance(self, pilot: str, version: int, found: Found, outcome: Outcome) -> None:
        before = self.row.cursor
        super().advance(pilot, version, found, outcome)
        if self.row.version % 10 == 0:
            self.row = msgspec.structs.replace(self.row, cursor=before)


class TakesVerdictsAsTheyCome(LaunchStore):
    """Sessions are taken as soon as they have a verdict, not in the order of assignment at their deadline."""

    def look(self) -> Found:
        found = super().look()
        early = [
            LaunchUnit(seat.arm, seat.share, seat.era, {"resolved": seat.verdict})  # type: ignore[arg-type]
            for seat in self.seats[self.row.cursor + len(found.units) :]
            if seat.verdict is not None
        ]
        return msgspec.structs.replace(found, units=(*found.units, *early))


class KeepsOneLevel(LaunchStore):
    """A level that the guard sets takes the place of all others, as where each feature has one value."""

    def enter(self, entry: LevelEntry) -> None:
        if entry.source is LevelSource.GUARD:
            self.entries.clear()
        super().enter(entry)


class TakesEffectsOfAnyEpoch(LaunchStore):
    """An effect is taken whatever has been flipped since its level was read."""

    def effect(self, _epoch: int, session: str, arm: str) -> None:
        super().effect(self.record.epoch, session, arm)


class NamesActionsItself(PilotNode):
    """The name of an action tells which pilot does it: the next pilot does it again."""

    def operation(self, version: int, place: int) -> str:
        return f"{self.uid}:{version}:{place}"


class LeavesTheRest(PilotNode):
    """A pilot that takes over does not finish what the one before began."""

    def finish(self, _row: Row) -> Process:
        yield from ()


class TrustsItsMemory(PilotNode):
    """A pilot goes on with the state that it remembers, not with the one that is stored."""

    _remembered: State | None = None

    def restored(self, row: Row) -> State:
        state = super().restored(row)
        if self._remembered is None or row.version % 3 == 0:
            self._remembered = state
        return self._remembered


class IgnoresLevels(ServingNode):
    """A member acts as if nothing had ever been stopped."""

    def permits(self, _entries: Any, _seat: Any) -> bool:
        return True


class KeepsTheFirstLevels(ServingNode):
    """A member reads the levels once, when it starts."""

    _first: Any = None

    def known(self) -> Process:
        if self._first is None:
            self._first = yield from super().known()
        return self._first


PARTS: list[tuple[LaunchParts, str]] = [
    (LaunchParts(store=FencesNobody), "version|promoted"),
    (LaunchParts(store=DoesLateActions), "took effect"),
    (LaunchParts(store=ForgetsTheCursor), "begins with session"),
    (LaunchParts(store=TakesVerdictsAsTheyCome), "took another session"),
    (LaunchParts(store=KeepsOneLevel), "which a person has set"),
    (LaunchParts(store=TakesEffectsOfAnyEpoch), "an effect of epoch"),
    (LaunchParts(pilot=NamesActionsItself), "took effect"),
    (LaunchParts(pilot=LeavesTheRest), "were not done"),
    (LaunchParts(pilot=TrustsItsMemory), "cannot be computed again"),
    (LaunchParts(member=IgnoresLevels), "which stops it"),
    (LaunchParts(member=KeepsTheFirstLevels), "a lease after"),
    (LaunchParts(world=StandsStill), "a lease after"),
]


@pytest.mark.parametrize(("parts", "says"), PARTS, ids=lambda value: value if isinstance(value, str) else None)
def test_a_defect_of_pilots_or_the_database_is_found(parts: LaunchParts, says: str) -> None:
    assert re.search(says, first_violation(parts))


# ── in what the engine decides ──


def forgets_the_peak(patch: Patch) -> None:
    """A rollback follows from the e-value now: one that has fallen again is forgotten."""
    evidence = engine._evidence

    def now(look: Any) -> dict[str, Evidence]:
        return {name: Evidence(each.log_e, each.log_e) for name, each in evidence(look).items()}

    patch.setattr(engine, "_evidence", now)


def promotes_without_proof(patch: Patch) -> None:
    """No metric has to be shown non-inferior."""
    patch.setattr(engine, "unproven", lambda _: [])


def missing_is_good(patch: Patch) -> None:
    """A missing verdict counts as a good one, also where the canary has to be shown no worse."""
    take = measure.Measure.take

    def lenient(self: Any, arm: Any, share: float, verdict: Any, **where: bool) -> None:
        take(self, arm, share, True if verdict is None else verdict, **where)

    patch.setattr(measure.Measure, "take", lenient)


def rollback_is_not_final(patch: Patch) -> None:
    """A launch whose deployment was rolled back goes on."""
    patch.setattr(engine, "_failure", lambda _: None)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (forgets_the_peak, "has seen e ="),
        (promotes_without_proof, "promoted"),
        (missing_is_good, "e ="),
        (rollback_is_not_final, "has seen e ="),
    ],
)
def test_a_defect_of_the_engine_is_found(plant: Callable[[Patch], None], says: str, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert re.search(says, first_violation())
