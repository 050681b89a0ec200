"""JSON document of one run."""

import msgspec

from bench.peers.machine import Machine
from bench.peers.outcome import Outcome


class Document(msgspec.Struct, frozen=True):
    """All that one run has measured."""

    machine: Machine
    embedder: str
    outcomes: list[Outcome]
    seconds: float

    def stages(self) -> list[str]:
        """Return the stages in order."""
        return list(dict.fromkeys(outcome.stage for outcome in self.outcomes))

    def on(self, stage: str) -> list[Outcome]:
        """Return the outcomes on a stage."""
        return [outcome for outcome in self.outcomes if outcome.stage == stage]

    def of(self, stage: str, peer: str) -> Outcome | None:
        """Return one outcome."""
        return next((outcome for outcome in self.on(stage) if outcome.peer == peer), None)
