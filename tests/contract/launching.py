"""A launch with real turns: sessions whose metric is known, and a pilot that looks once at a time."""

from __future__ import annotations

import random
from typing import Any

import kedge
from kedge.guard.launch_report import LaunchEvent, LaunchStatus
from tests.contract.conftest import HandClock

RELEASE: dict[str, Any] = {
    "deployment": "v2",
    "ramp": [0.3, 0.5],
    "min_sessions": 5,
    "soak": 0,
    "watch": "1min",
    "skip_gates": ["drill"],
    "metrics": {"resolved": {"kind": "success", "margin": 0.3, "deadline": "5s"}},
    "artifacts": {"support/prompt": "two"},
}


class World:
    """A database, its clock, and a stream of sessions. `rates`: how often v2 and the rest succeed."""

    def __init__(self, k: kedge.Kedge, clock: HandClock, *, canary: float = 0.95, baseline: float = 0.95) -> None:
        self.k, self.clock = k, clock
        self.seconds = 10.0  # between looks
        self.rates = {True: canary, False: baseline}
        self.draw = random.Random(5)
        self.count = 0
        self.events: list[LaunchEvent] = []

    def serve(self, sessions: int = 10) -> None:
        for _ in range(sessions):
            self.count += 1
            with self.k.turn(session=f"s{self.count}", agent="support") as turn:
                is_canary = turn.artifacts["support/prompt"].value == "two"
                turn.context.put(f"case/{self.count}", "open")
                turn.observe("resolved", self.draw.random() < self.rates[is_canary])

    def look(self, release: dict[str, Any] | None = None) -> LaunchStatus:
        self.clock.time += self.seconds
        return self.k.guard.launch(release or RELEASE, once=True, on_event=self.events.append)

    def to(self, *phases: str, looks: int = 60, release: dict[str, Any] | None = None) -> LaunchStatus:
        status = self.look(release)
        for _ in range(looks):
            if status.ended or status.phase in phases:
                return status
            self.serve()
            status = self.look(release)
        return status

    @property
    def texts(self) -> list[str]:
        return [text for event in self.events for text in event.texts]
