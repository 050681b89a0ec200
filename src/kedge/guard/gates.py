"""Gates of a launch: checks that must pass before the first session."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from kedge.support.display import Value
from kedge.turns.kernel import Kernel


class GateResult(Value, frozen=True):
    """The result of one gate: whether it passed, one sentence of detail, and the numbers that it rests on."""

    name: str
    passed: bool
    detail: str
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)


class Gate(Protocol):
    """A check before the first session of a deployment. It changes nothing, and it never raises for a failed check."""

    def __call__(self, kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:
        """Return the result for a deployment; None where the gate does not apply. `settings` are the gate's own."""


GATES: dict[str, Gate] = {}


def run_gates(kernel: Kernel, deployment: str, settings: Mapping[str, Mapping[str, Any]]) -> list[GateResult]:
    """Run the gates for a deployment, in order; `settings` are the tables `[gates.NAME]` of a release file."""
    results = (gate(kernel, deployment, settings.get(name, {})) for name, gate in GATES.items())
    return [result for result in results if result is not None]
