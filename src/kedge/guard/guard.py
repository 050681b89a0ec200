"""`k.guard`: the guard's calls of one open database."""

from collections.abc import Callable, Iterable
from typing import Any

from kedge.guard import declaring
from kedge.guard.declaring import Declared, MetricReport
from kedge.guard.metrics import Metric
from kedge.model.checks import check_optional_callables
from kedge.model.observations import ObserveReport
from kedge.turns import observing
from kedge.turns.kernel import Kernel


class Guard:
    """Metrics, launches, health and service levels of one open database: `k.guard`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    # ── metrics ──

    def declare(self, metrics: Declared, *, reason: str = "", by: str | None = None) -> dict[str, Metric]:
        """Declare metrics, in place of those of the same names: `{"resolved": {"kind": "success"}}`, or `Metric`s.

        From then on their values are checked at the door. Return those declared now.
        """
        return declaring.declare(self._kernel, metrics, reason=reason, by=by)

    def withdraw(self, metric: str, *, reason: str = "", by: str | None = None) -> dict[str, Metric]:
        """Withdraw the declaration of a metric; its values stay. Return those declared now."""
        return declaring.withdraw(self._kernel, metric, reason=reason, by=by)

    def metrics(self) -> list[MetricReport]:
        """Return the declared metrics with how much was observed of them, and how many values were refused and why."""
        return declaring.survey(self._kernel)

    def observe(
        self, records: Iterable[Any], *, progress: Callable[[ObserveReport], None] | None = None
    ) -> ObserveReport:
        """Store many observations, 1,000 a commit: mappings with session, metric, value, and at, agent, idempotency.

        A record may also be a line of JSON, such as those of a file. Lines that are read twice are stored once. What is
        refused is counted and reported with its place, and the rest is stored. `progress` is called after each commit.
        """
        check_optional_callables(progress=progress)
        report = ObserveReport()
        for part in observing.observe_many(self._kernel, records):
            report += part
            if progress is not None:
                progress(report)
        return report
