"""Simulated launches: a world that does what the engine asks, and sessions whose rates are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kedge.guard.engine import advance
from kedge.guard.launch_state import ENDED, Action, Gate, LaunchUnit, Outcome, Phase, Request, State, World
from kedge.guard.release import Release, parse_release
from kedge.model.control import Status

RESOLVED = {"kind": "success", "margin": 0.1, "deadline": 60}
Verdicts = Callable[[str, random.Random], dict[str, Any]]


def release_of(**settings: Any) -> Release:
    table: dict[str, Any] = {
        "deployment": "v2", "ramp": [0.2, 0.5], "min_sessions": 40, "soak": 0, "watch": "1h",
        "metrics": {"resolved": RESOLVED},
    }  # fmt: skip
    return parse_release(table | settings, "the release").release


def rates(canary: float, baseline: float = 0.95) -> Verdicts:
    """Return verdicts of one success metric whose arms succeed with these probabilities."""
    return lambda arm, draw: {"resolved": draw.random() < (canary if arm == "canary" else baseline)}


class Simulated:
    """A deployment, a pilot that looks every ten seconds, and sessions in between."""

    def __init__(self, release: Release, verdicts: Verdicts, *, seed: int = 7) -> None:
        self.release, self.verdicts, self.draw = release, verdicts, random.Random(seed)
        self.state = State()
        self.status, self.weight, self.era, self.since = Status.STAGED, 0.0, 0, 0.0
        self.now = 1_000_000.0
        self.actions: list[Action] = []
        self.events: list[str] = []
        self.asked = 0
        self.looks: list[tuple[list[LaunchUnit], World, Outcome]] = []

    def sessions(self, count: int) -> list[LaunchUnit]:
        share = 1 - self.release.holdback if self.status is Status.LIVE else self.weight
        found = []
        for _ in range(count):
            arm = "canary" if self.draw.random() < share else "baseline"
            verdicts = self.verdicts(arm, self.draw)
            found.append(LaunchUnit(arm, share, self.era, verdicts, is_promoted=self.status is Status.LIVE))  # type: ignore[arg-type]
        return found

    def ask(self, verb: str, **fields: Any) -> Request:
        self.asked += 1
        return Request(self.asked, verb, "ann", **fields)  # type: ignore[arg-type]

    def look(self, units: list[LaunchUnit] | int = 20, **world: Any) -> Outcome:
        self.now += 10
        taken = self.sessions(units if self.weight else 0) if isinstance(units, int) else units
        seen = World(
            self.now, self.status, self.weight, self.era, self.since, "kedge",
            gates=(Gate("embedding", True),),
        )  # fmt: skip
        seen = msgspec.structs.replace(seen, **world)
        outcome = advance(self.release, self.state, taken, seen)
        self.looks.append((taken, seen, outcome))
        self.state = outcome.state
        self.events += outcome.events
        for action in outcome.actions:
            self.act(action)
        return outcome

    def act(self, action: Action) -> None:
        self.actions.append(action)
        if action.kind == "canary":
            self.status, self.weight, self.era = Status.CANARY, action.weight, self.era + 1
        elif action.kind == "promote":
            self.status, self.era, self.since = Status.LIVE, self.era + 1, self.now
        elif action.kind == "roll_back":
            self.status = Status.ROLLED_BACK
        elif action.kind == "settle":
            self.status = Status.SETTLED

    def run(self, looks: int = 1_000, until: Phase | None = None, **world: Any) -> Iterator[Outcome]:
        for _ in range(looks):
            if self.state.phase in ENDED or self.state.phase is until:
                return
            yield self.look(**world)

    def to(self, until: Phase | None = None, looks: int = 1_000) -> Phase:
        """Look until the launch is in a phase, or has ended; return the phase."""
        for _ in self.run(looks, until):
            pass
        return self.state.phase

    @property
    def done(self) -> list[str]:
        return [action.kind for action in self.actions if action.kind != "notify"]
