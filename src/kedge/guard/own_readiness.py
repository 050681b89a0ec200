"""Readiness of the stores of a Kedge database: what a rollback was shown to take back here, and when."""

import statistics
from collections.abc import Iterator

import msgspec

from kedge.guard.indicator_runs import IndicatorRun, indicator_runs
from kedge.guard.state_gates import drill_state
from kedge.model.control import ControlRecord
from kedge.model.drills import DrillState
from kedge.model.readiness import POINTS, Fix, Span, StoreReadiness, WayBack, overall, score
from kedge.model.reconcile import NOT_RECONCILED, RECONCILED, Reconciled
from kedge.ports.control import Entry
from kedge.recovery.rollback import COMMIT, unfinished
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel

RUNS = 20  # rollbacks whose times count
SLO_SECONDS = 300.0
REHEARSE = "kedge drill --in-place"


class OwnReadiness(Report, frozen=True):
    """The readiness of each store of a database.

    `score`: of 100, null where nothing is stored. `within`: the seconds that a rollback may take.
    """

    at: float
    within: float
    score: int | None
    stores: tuple[StoreReadiness, ...]

    def __str__(self) -> str:
        """Return the verdict."""
        if self.score is None:
            return "not known: nothing is stored"
        todo = [fix.what for store in self.stores for fix in store.fixes]
        worst = f"; to do first: {todo[0]}" if todo else ""
        return f"{self.score} of 100, {count(len(self.stores), 'store')}{worst}"


def own_readiness(kernel: Kernel, within: float = SLO_SECONDS) -> OwnReadiness:
    """Return the readiness of the stores that were written to, and of the external systems that follow; read-only."""
    record, now = kernel.backend.control.load(), kernel.backend.clock.now()
    runs, drill = indicator_runs(kernel, RUNS), drill_state(kernel)
    span = _measured(runs)
    stores = (
        *(_own(store, span, runs, drill, within, now) for store in kernel.backend.journal.stores()),
        *_external(kernel, record, within, now),
    )
    found = overall(store.score for store in stores)
    if found is not None and unfinished(kernel):
        found = min(found, 50)  # a rollback that has not ended
    return OwnReadiness(now, within, found, stores)


def _measured(runs: list[IndicatorRun]) -> Span | None:
    """Return the fastest, median and slowest of the rollbacks, in seconds; null where none was measured."""
    times = [seconds for run in runs if (seconds := run.indicators["rollback_completion_seconds"]) is not None]
    return Span(min(times), statistics.median(times), max(times)) if times else None


def _own(
    store: str, span: Span | None, runs: list[IndicatorRun], drill: DrillState, within: float, now: float
) -> StoreReadiness:
    failed = drill.failed or bool(runs and not runs[0].ok)
    tested_at = None if failed else max((run.at for run in runs if run.ok), default=None)
    found = score(WayBack.DEPLOYMENT, isolated="yes", span=span, within=within, tested_at=tested_at, now=now)
    lacking = 25 - found.in_time - found.tested
    why = "the newest rehearsal failed; repair it, then" if failed else "a rollback was not rehearsed here lately:"
    return StoreReadiness(
        store,
        "kedge",
        WayBack.DEPLOYMENT,
        unit="deployment",
        lost="",
        versioned="yes",
        isolated="yes",
        span=span,
        score=found.total,
        rebuilt_from="inputs that are replayed",
        tested_at=tested_at,
        fixes=(Fix(f"{why} {REHEARSE}", "", lacking),) if lacking and not found.tested else (),
    )


def _external(kernel: Kernel, record: ControlRecord, within: float, now: float) -> Iterator[StoreReadiness]:
    """Yield the external systems that must follow a rollback, by what the reconciliations in the log showed."""
    if not record.reconcilers:
        return  # without a look at the log
    kinds = (COMMIT + RECONCILED, COMMIT + NOT_RECONCILED)
    steps = kernel.backend.control.steps(kinds, limit=RUNS)
    for name, pattern in sorted(record.reconcilers.items()):
        seen = [(step.at, outcome) for step in steps for outcome in _outcomes(step) if outcome.name == name]
        good = [outcome.seconds for _, outcome in seen if outcome.ok]
        follows = bool(seen) and seen[0][1].ok
        span = Span(min(good), statistics.median(good), max(good)) if good else None
        way = WayBack.DEPLOYMENT if follows else WayBack.UNKNOWN
        tested_at = seen[0][0] if follows else None
        found = score(way, isolated="unknown", span=span, within=within, tested_at=tested_at, now=now)
        todo = "has not followed the newest rollback: kedge recover" if seen else f"was never reconciled: {REHEARSE}"
        yield StoreReadiness(
            f"external:{name}",
            "external",
            way,
            unit=f"artifacts {pattern}",
            lost="",
            versioned="unknown",
            isolated="unknown",
            span=span,
            score=found.total,
            tested_at=tested_at,
            conditions=("a reconciler moves it",),
            fixes=() if follows else (Fix(f"the external system {name!r} {todo}", "", POINTS[WayBack.DEPLOYMENT]),),
        )


def _outcomes(step: Entry) -> tuple[Reconciled, ...]:
    return msgspec.convert(step.detail.get("outcomes", ()), tuple[Reconciled, ...])


__all__ = ["OwnReadiness", "own_readiness"]
