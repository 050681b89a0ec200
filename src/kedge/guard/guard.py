"""`k.guard`: the guard's calls of one open database."""

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedge.guard import declaring, gates
from kedge.guard import health as healths
from kedge.guard import launches as launching
from kedge.guard import slo as slos
from kedge.guard.declaring import Declared, MetricReport
from kedge.guard.drift import drift_values
from kedge.guard.gates import GatesReport
from kedge.guard.health import Health
from kedge.guard.indicator_runs import IndicatorRun, indicator_runs
from kedge.guard.launch_report import LaunchEvent, LaunchPlan, LaunchStatus
from kedge.guard.metrics import Metric
from kedge.guard.mirror import Query
from kedge.guard.own_readiness import OwnReadiness, own_readiness
from kedge.guard.pilot import LEASE_SECONDS
from kedge.guard.recompute import Recomputed, recompute
from kedge.guard.release import Release, ReleaseFile
from kedge.guard.slo import SloReport
from kedge.guard.slo_rules import Slo
from kedge.model.checks import check_name, check_optional_callables
from kedge.model.durations import check_duration
from kedge.model.observations import ObserveReport
from kedge.support.callbacks import unfailing
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

    # ── gates ──

    def gates(self, name: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> GatesReport:
        """Check what must hold before the first session of a deployment; changes nothing.

        `settings` are those of each gate by its name, as the tables `[gates.NAME]` of a release file hold them.
        """
        return gates.gates(self._kernel, name, settings)

    # ── launches ──

    def plan(self, release: str | Path | Mapping[str, Any] | Release | ReleaseFile) -> LaunchPlan:
        """Run the gates of a release file or table, and return what its launch would do; change nothing."""
        return launching.plan(self._kernel, release)

    def launch(
        self,
        release: str | Path | Mapping[str, Any] | Release | ReleaseFile,
        *,
        by: str | None = None,
        once: bool = False,
        every: float = launching.EVERY_SECONDS,
        lease: float = LEASE_SECONDS,
        on_event: Callable[[LaunchEvent], object] | None = None,
    ) -> LaunchStatus:
        """Launch a deployment: gates, canary, ramp, promotion, holdback; degrade or roll back where it is worse.

        `release` is a TOML file, or the table that one holds; its settings are frozen before the first session. It
        pilots the launch until it ends or a gate fails, looking `every` so many seconds, or for one look (`once`). A
        launch that has begun goes on where it stands. `PilotRuns` is raised while another pilot runs it, and for
        `lease` seconds after one was killed.
        """
        check_optional_callables(on_event=on_event)
        shown = unfailing(on_event)
        return launching.launch(self._kernel, release, by=by, once=once, every=every, lease=lease, on_event=shown)

    def pilot(
        self,
        name: str,
        *,
        once: bool = False,
        every: float = launching.EVERY_SECONDS,
        lease: float = LEASE_SECONDS,
        on_event: Callable[[LaunchEvent], object] | None = None,
    ) -> LaunchStatus:
        """Pilot a launch that has begun, by its name, which is its deployment's."""
        check_optional_callables(on_event=on_event)
        launching.status(self._kernel, name)
        shown = unfailing(on_event)
        return launching.pilot(self._kernel, name, once=once, every=every, lease=lease, on_event=shown)

    def launches(self) -> builtins.list[LaunchStatus]:
        """Return all launches, the newest first."""
        return launching.launches(self._kernel)

    def status(self, name: str) -> LaunchStatus:
        """Return where a launch stands: its phase, the evidence, why it holds, and what it does next."""
        return launching.status(self._kernel, name)

    def pause(self, name: str, *, reason: str = "", by: str | None = None) -> LaunchStatus:
        """Stop the ramp of a launch. Its sessions are still watched, and it is still rolled back where it is worse."""
        return launching.ask(self._kernel, name, "pause", by=by, reason=reason)

    def resume(self, name: str | None = None, *, reason: str = "", by: str | None = None) -> builtins.list[str]:
        """Let a paused launch go on; without a name, let promotions go on after an automatic rollback.

        Return the names of the launches that this concerns.
        """
        return launching.resume(self._kernel, name, by=by, reason=reason)

    def abort(self, name: str, *, reason: str = "", keep: bool = False, by: str | None = None) -> LaunchStatus:
        """End a launch and roll its deployment back; with `keep`, leave the deployment as it is."""
        return launching.ask(self._kernel, name, "abort", by=by, reason=reason, keep=keep)

    def approve(self, name: str, *, reason: str = "", by: str | None = None) -> LaunchStatus:
        """Approve the promotion of a launch that waits for it."""
        return launching.ask(self._kernel, name, "approve", by=by, reason=reason)

    def recompute(self, name: str) -> Recomputed:
        """Compute every decision of a launch again from the log alone, up to the first difference."""
        return recompute(self._kernel, check_name("the launch", name))

    def health(self) -> Health:
        """Return what is not as the record says: members, operations, hidden writers, drills; it changes nothing."""
        return healths.health(self._kernel)

    def drift(self, name: str, *, queries: Mapping[str, Sequence[Query]] | None = None) -> dict[str, float]:
        """Return how far the state of a deployment is from the live one, by name, each from 0 to 1.

        `queries` are those to mirror, by collection: pairs of vectors, in the live embedder's space and in the
        deployment's. Without them, stored rows are searched for.
        """
        return drift_values(self._kernel, name, queries=queries)

    def indicator_runs(self, limit: int = 20) -> list[IndicatorRun]:
        """Return the indicators that the newest rollbacks and drills measured, the newest run first; read-only."""
        return indicator_runs(self._kernel, limit)

    def readiness(self, within: float | str = "5m") -> OwnReadiness:
        """Return how ready the stores of this database are for a rollback that may take so long; read-only."""
        return own_readiness(self._kernel, check_duration("within of readiness", within))

    def slo(self, table: Mapping[str, Any] | None = None) -> SloReport:
        """Return the error budgets and burn rates of objectives: of a table `[slo]`, or of those in the log."""
        return slos.slo(self._kernel, table)

    def set_slo(self, table: Mapping[str, Any], *, by: str | None = None) -> Slo:
        """Keep the objectives of a table `[slo]` in the log; they replace those before."""
        return slos.set_slo(self._kernel, table, by=by)
