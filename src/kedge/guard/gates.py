"""Gates of a launch: checks that must pass before the first session."""

from collections.abc import Collection, Mapping
from typing import Any

from kedge.errors import InvalidValue, nearest
from kedge.guard.gate import NOT_CHECKED, Gate, GateResult
from kedge.guard.probe_gate import EMBEDDING_KEYS, embedding_gate
from kedge.guard.readiness_gate import READINESS_KEYS, readiness_gate, short_form
from kedge.guard.state_gates import backfill_gate, drill_gate, schema_gate, target_gate
from kedge.support.display import Report, brief
from kedge.turns.kernel import Kernel

GATES: dict[str, Gate] = {
    "embedding": embedding_gate,
    "schemas": schema_gate,
    "backfill": backfill_gate,
    "targets": target_gate,
    "drill": drill_gate,
    "readiness": readiness_gate,
}
KEYS: dict[str, tuple[str, ...]] = {  # of the settings of each gate
    "embedding": EMBEDDING_KEYS,
    "schemas": (),
    "backfill": ("seconds",),
    "targets": ("seconds",),
    "drill": ("max_age",),
    "readiness": READINESS_KEYS,
}
Settings = Mapping[str, Mapping[str, Any]]


class GatesReport(Report, frozen=True):
    """The results of the gates of a deployment. Gates that do not apply to it are left out."""

    deployment: str
    results: tuple[GateResult, ...]

    def __str__(self) -> str:
        """Return the verdict."""
        failed = [result.name for result in self.results if not result.passed]
        if not failed:
            return f"{self.deployment}: all {len(self.results)} gates passed"
        return f"{self.deployment}: {len(failed)} of {len(self.results)} gates did not pass: {', '.join(failed)}"

    @property
    def ok(self) -> bool:
        """Whether every gate passed."""
        return all(result.passed for result in self.results)


def run_gates(kernel: Kernel, deployment: str, settings: Settings, *, skip: Collection[str] = ()) -> list[GateResult]:
    """Run the gates for a deployment, in order; `settings` are the tables `[gates.NAME]` of a release file."""
    settings = check_settings(settings)
    wanted = {name: gate for name, gate in GATES.items() if name not in skip}
    results = (_run(name, gate, kernel, deployment, settings.get(name, {})) for name, gate in wanted.items())
    return [result for result in results if result is not None]


def gates(kernel: Kernel, deployment: str, settings: Settings | None) -> GatesReport:
    """Return the results of the gates for a deployment that can still be rolled back."""
    kernel.find(kernel.backend.control.load(), deployment, "check")
    return GatesReport(deployment, tuple(run_gates(kernel, deployment, settings or {})))


def check_settings(settings: object) -> dict[str, dict[str, Any]]:
    """Return tables of settings by the name of a gate, or raise `InvalidValue`."""
    if not isinstance(settings, Mapping):
        raise InvalidValue(f"invalid settings of gates {settings!r:.80}: must be tables such as [gates.drill]")
    tables: dict[str, Any] = {
        name: short_form(table) if name == "readiness" else table for name, table in settings.items()
    }
    for name, table in tables.items():
        if name not in GATES:
            raise InvalidValue(f"unknown gate {name!r}{nearest(str(name), GATES)}; there are {', '.join(GATES)}")
        if not isinstance(table, Mapping):
            raise InvalidValue(f"invalid settings of the gate {name!r}: {table!r:.60}; write a table [gates.{name}]")
        for key in table:
            if key not in KEYS[name]:
                known = f"keys: {', '.join(KEYS[name])}" if KEYS[name] else "this gate has none"
                raise InvalidValue(
                    f"unknown key {brief(key)} in [gates.{name}]{nearest(str(key), KEYS[name])}; {known}"
                )
    return {name: dict(table) for name, table in tables.items()}


def _run(name: str, gate: Gate, kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:
    try:
        return gate(kernel, deployment, settings)
    except Exception as error:  # noqa: BLE001 - also what an embedder or a resolver of the user raises
        why = f"{NOT_CHECKED}{type(error).__name__}: {error}"
    return GateResult(name, passed=False, detail=why)


__all__ = ["GATES", "Gate", "GateResult", "GatesReport", "check_settings", "gates", "run_gates"]
