"""Metrics of a launch: read from TOML, and as settings of their tests."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.settings import (
    FailureSettings,
    GuardSettings,
    LatencySettings,
    MetricSettings,
    ScoreSettings,
    check_kind,
)
from kedge.model.declared_metrics import METRICS_MAX, DeclaredMetric
from kedge.model.drift import DRIFT
from kedge.support.display import brief

TestSettings = FailureSettings | ScoreSettings | LatencySettings


class Metric(DeclaredMetric, frozen=True):
    """A metric that was declared, with its test."""

    def test(self) -> TestSettings:
        """Return the settings of the test that compares sessions by it, or raise `InvalidValue` for an event."""
        if self.kind == "event":
            raise InvalidValue(
                f"the metric {self.name!r} is an event: one acts at once, and none is compared; leave it out"
            )
        if self.is_binary:
            return FailureSettings(check_kind(self.kind))  # type: ignore[arg-type]  # it has checked it
        if self.kind == "latency":
            return LatencySettings()
        return ScoreSettings(float(self.worst), float(self.best))

    def settings(self) -> MetricSettings:
        """Return the settings of this metric in a launch; without a weight it has all of it."""
        return MetricSettings(self.name, self.test(), 1.0 if self.weight is None else self.weight)


def parse_metrics(table: Any, *, also: Collection[str] = ()) -> dict[str, Metric]:
    """Return the metrics of a TOML table (`[metrics.resolved] kind = "success"`) by name, or raise `InvalidValue`.

    The table may also hold them under the key `metrics`, as a whole file does. `also` names keys that the caller has
    taken out.
    """
    if isinstance(table, Mapping) and set(table) == {"metrics"}:
        table = table["metrics"]
    if not isinstance(table, Mapping) or not table:
        raise InvalidValue(
            f'invalid metrics {brief(table)}: must be a table of tables, such as [metrics.resolved] kind = "success"'
        )
    if len(table) > METRICS_MAX:
        raise InvalidValue(f"{len(table)} metrics are more than {METRICS_MAX}; leave some out")
    return {name: Metric.read(name, _filled(name, each), also) for name, each in table.items()}


def _filled(name: str, table: Any) -> Any:
    """Return the table of a metric, with what is known of one that Kedge takes itself: `[metrics."drift.…"]`."""
    known = DRIFT.get(name)
    return {**known, **table} if known is not None and isinstance(table, Mapping) else table


def metric_of(declared: DeclaredMetric) -> Metric:
    """Return a declared metric with its test."""
    return Metric(**msgspec.structs.asdict(declared))


def weighted(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Return the guardrails that sessions are compared by, each with a weight.

    Those without one share equally what the others leave of 1. Signals and events are left out: they have no part of
    the false rollbacks.
    """
    chosen = [metric for metric in metrics if metric.is_tested and metric.role == "guardrail"]
    open_ended = [metric for metric in chosen if metric.weight is None]
    left = 1.0 - math.fsum(metric.weight or 0.0 for metric in chosen)
    if open_ended and left <= 0:
        raise InvalidValue(
            f"no weight is left for {open_ended[0].name!r}: the others have {1 - left:g}; lower some, or give it one"
        )
    part = left / len(open_ended) if open_ended else 0.0
    return {
        metric.name: metric if metric.weight is not None else msgspec.structs.replace(metric, weight=part)
        for metric in chosen
    }


def guard_settings(metrics: Iterable[Metric], *, alpha: float = 0.05, **limits: float) -> GuardSettings:
    """Return the settings of a launch whose guardrails are these metrics."""
    return GuardSettings(tuple(metric.settings() for metric in weighted(metrics).values()), alpha, **limits)
