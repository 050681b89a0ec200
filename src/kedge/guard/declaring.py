"""Declaration of metrics, and what was observed of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.metrics import Metric, metric_of, parse_metrics
from kedge.model import transitions
from kedge.model.control_log import Session
from kedge.model.declared_metrics import DeclaredMetric
from kedge.model.upgrade import GUARD_SINCE
from kedge.ports.control import Change
from kedge.support.display import Value, brief
from kedge.turns.kernel import Kernel, actor
from kedge.turns.observing import refused_values

SESSIONS_LOOKED_AT = 1_000
Declared = Iterable[Metric] | Mapping[str, Any]


class MetricReport(Value, frozen=True):
    """A metric and what was observed of it: how many values are stored, the time of the last, and refusals by reason.

    `metric` is None where it was not declared. `missing`: the part of the newest sessions past its deadline, `sessions`
    of them, that have no value; None where there are none.
    """

    name: str
    metric: Metric | None
    values: int = 0
    last_at: float | None = None
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    sessions: int = 0
    missing: float | None = None


def declare(kernel: Kernel, metrics: Declared, *, reason: str, by: str | None) -> dict[str, Metric]:
    """Declare metrics, in place of those of the same names; return those declared now."""
    given = _given(metrics)
    kernel.check_fence("declared metrics", GUARD_SINCE)
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    stored = [DeclaredMetric(**msgspec.structs.asdict(metric)) for metric in given.values()]
    detail = {"metrics": [msgspec.to_builtins(metric) for metric in stored]}
    kernel.change(
        lambda record: Change(
            transitions.declare_metrics(record, stored), operation, "declare-metrics", who, None, reason, detail
        )
    )
    return declared(kernel)


def withdraw(kernel: Kernel, name: str, *, reason: str, by: str | None) -> dict[str, Metric]:
    """Withdraw the declaration of a metric, whose values stay; return those declared now."""
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    kernel.change(
        lambda record: Change(
            transitions.withdraw_metric(record, name), operation, "withdraw-metric", who, None, reason, {"metric": name}
        )
    )
    return declared(kernel)


def declared(kernel: Kernel) -> dict[str, Metric]:
    """Return the declared metrics by name."""
    return {name: metric_of(metric) for name, metric in sorted(kernel.backend.control.load().metrics.items())}


def survey(kernel: Kernel) -> list[MetricReport]:
    """Return the declared metrics, and the others of which something was refused, with what was observed of them."""
    metrics = declared(kernel)
    refused: dict[str, dict[str, int]] = {}
    for tally in refused_values(kernel):
        by_reason = refused.setdefault(tally.metric, {})
        by_reason[str(tally.value)] = by_reason.get(str(tally.value), 0) + tally.count
    names = sorted(metrics.keys() | refused.keys())
    counts = kernel.backend.metrics.counts(names)
    sessions = _Sessions(kernel)
    found: list[MetricReport] = []
    for name in names:
        count, at = counts.get(name, (0, None))
        metric = metrics.get(name)
        report = MetricReport(name, metric, count, at, refused.get(name, {}))
        if metric is not None and metric.is_tested:
            total, missing = sessions.missing(metric)
            part = missing / total if total else None
            report = msgspec.structs.replace(report, sessions=total, missing=part)
        found.append(report)
    return found


class _Sessions:
    """The newest sessions past a deadline."""

    def __init__(self, kernel: Kernel) -> None:
        self._backend = kernel.backend
        self._now = kernel.backend.clock.now()
        self._found: dict[float, list[Session]] = {}

    def missing(self, metric: Metric) -> tuple[int, int]:
        """Return how many of the newest sessions are past the deadline of a metric, and how many have no value then."""
        if metric.deadline not in self._found:
            upto = self._backend.control.seq_at(self._now - metric.deadline)
            newest = self._backend.assignments.newest(upto, SESSIONS_LOOKED_AT)
            self._found[metric.deadline] = [session for session in newest if not session.ended]
        until = {session.session: session.at + metric.deadline for session in self._found[metric.deadline]}
        samples = self._backend.metrics.of_sessions(until, [metric.name])
        told = {sample.session for sample in samples if sample.arrived <= until.get(f"{sample.session}", 0.0)}
        return len(until), len(until) - len(told) if metric.absent is None else 0


def _given(metrics: Declared) -> dict[str, Metric]:
    if isinstance(metrics, Mapping):
        if not all(isinstance(metric, Metric) for metric in metrics.values()):
            return parse_metrics(metrics)
        metrics = metrics.values()
    found = list(metrics) if isinstance(metrics, Iterable) and not isinstance(metrics, str) else []
    if not found or not all(isinstance(metric, Metric) for metric in found):
        raise InvalidValue(
            f"invalid metrics {brief(metrics)}: must be tables, as [metrics.NAME] in a TOML file, or Metric(…)"
        )
    return {metric.name: metric for metric in found}
