"""Gate port: a check before the first session of a deployment."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from kedge.support.display import Value
from kedge.turns.kernel import Kernel

NOT_CHECKED = "not checked: "
SKIPPED = "skipped"


class GateResult(Value, frozen=True):
    """The result of one gate: whether it passed, one sentence of detail, and the numbers that it rests on.

    The detail of a gate that could not look begins with "not checked: ", that of one that was skipped with "skipped".
    """

    name: str
    passed: bool
    detail: str
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        """Whether the release file says not to run it."""
        return self.detail.startswith(SKIPPED)


class Gate(Protocol):
    """A check before the first session of a deployment. It changes nothing, and it never raises for a failed check."""

    def __call__(self, kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:
        """Return the result for a deployment; None where the gate does not apply. `settings` are the gate's own."""


__all__ = ["NOT_CHECKED", "SKIPPED", "Gate", "GateResult"]
