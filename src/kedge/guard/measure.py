"""Tests of one metric in a launch: harm, non-inferiority, coverage, effect size, and those after the promotion."""

from bisect import bisect_left, bisect_right
from typing import Any

import msgspec

from kedge.guard.balance import BalanceTest
from kedge.guard.cusum import HoldbackTest, SloTest
from kedge.guard.decisions import Evidence
from kedge.guard.difference import DifferenceSequence, Interval
from kedge.guard.draws import imputed
from kedge.guard.failures import FailureTest
from kedge.guard.latency import LatencyTest
from kedge.guard.metrics import Metric
from kedge.guard.noninferiority import NonInferiorityTest
from kedge.guard.release import Limits, Release
from kedge.guard.scores import ScoreTest
from kedge.guard.sessions import Arm
from kedge.model.declared_metrics import Verdict

COVERAGE_LIMIT = 100.0  # e-value at which the coverage of the arms counts as unequal
MISSING_LEAST = 20  # sessions of an arm before its share of missing verdicts counts
_WINDOW = 400  # latencies among which one has its rank
_WARM_UP = 20

HarmTest = FailureTest | ScoreTest | LatencyTest


class MeasureState(msgspec.Struct, frozen=True):
    """State of the tests of one metric, as plain documents; None: not begun."""

    harm: dict[str, Any] | None = None
    margin: dict[str, Any] | None = None
    effect: dict[str, Any] | None = None
    coverage: dict[str, Any] | None = None
    watch: dict[str, Any] | None = None
    slo: dict[str, Any] | None = None
    recent: tuple[float, ...] = ()
    seen: tuple[int, int] = (0, 0)  # sessions with a verdict, or due without one: the canary's, the baseline's
    missing: tuple[int, int] = (0, 0)


class Measure:
    """The tests of one metric."""

    def __init__(self, metric: Metric, limits: Limits, release: Release, state: MeasureState) -> None:
        self.metric = metric
        self.limits = limits
        self.harm: HarmTest = _restore(_harm_of(metric), state.harm)
        low, high = _bounds(metric)
        self.margin: NonInferiorityTest = _restore(NonInferiorityTest(limits.margin, low, high), state.margin)
        self.effect: DifferenceSequence = _restore(DifferenceSequence(low, high, alpha=release.alpha), state.effect)
        self.coverage: BalanceTest = _restore(BalanceTest(), state.coverage)
        watch = HoldbackTest(_kind_of(metric)) if metric.is_binary else _harm_of(metric)
        self.watch: HoldbackTest | HarmTest = _restore(watch, state.watch)
        self.slo: SloTest | None = None
        if limits.slo is not None:
            self.slo = _restore(SloTest(limits.slo, _kind_of(metric)), state.slo)
        self._recent = list(state.recent)
        self.seen = list(state.seen)
        self.missing = list(state.missing)

    def state(self) -> MeasureState:
        """Return the state, for the next look."""
        return MeasureState(
            self.harm.to_json(), self.margin.to_json(), self.effect.to_json(), self.coverage.to_json(),
            self.watch.to_json(), None if self.slo is None else self.slo.to_json(), tuple(self._recent),
            (self.seen[0], self.seen[1]), (self.missing[0], self.missing[1]),
        )  # fmt: skip

    def take(self, arm: Arm, share: float, verdict: Verdict, *, is_first: bool = True, is_promoted: bool) -> None:
        """Take a session's verdict, or what a missing one counts as.

        Of a unit that was drawn before, only its first bad session comes. It counts for the coins, which bet on bad
        sessions alone, and for nothing else: what estimates a rate or a mean takes each unit once.
        """
        if is_first:
            at = 0 if arm == "canary" else 1
            self.seen[at] += 1
            if verdict is None:
                self.missing[at] += 1
                self.coverage.observe(arm, share)
        counted = imputed(self.metric, verdict, is_canary=arm == "canary")
        if is_promoted:
            self.watch.observe(arm, counted, share)
            if self.slo is not None and arm == "canary" and verdict is not None and is_first:
                self.slo.observe(verdict)
            return
        self.harm.observe(arm, counted, share)
        score = self._score(verdict) if is_first else None
        if score is not None:  # what is missing is bounded by max_missing, and by the test of coverage
            self.margin.observe(arm, score, share)
            self.effect.observe(arm, score, share)

    def _score(self, verdict: Verdict) -> float | None:
        """Return a verdict as a number of which more is better; of a latency, its rank among the last ones."""
        if verdict is None:
            return None
        if self.metric.is_binary:
            return 1.0 if verdict is self.metric.best else 0.0
        if self.metric.kind != "latency":
            return float(verdict)
        recent = sorted(self._recent)
        below, not_above = bisect_left(recent, verdict), bisect_right(recent, verdict)
        self._recent = [*self._recent[-_WINDOW + 1 :], float(verdict)]
        return None if len(recent) < _WARM_UP else 1.0 - (below + not_above) / (2 * len(recent))

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of harm; None until both arms have a session."""
        return self.harm.evidence if min(self.seen) else None

    @property
    def interval(self) -> Interval:
        """The difference canary minus baseline, more is better; of a latency, in ranks."""
        return self.effect.interval

    def faults(self) -> list[str]:
        """Return what is wrong with the data of this metric."""
        name, found = self.metric.name, []
        if not min(self.seen):
            found.append(f"no data of {name} from the {'canary' if not self.seen[0] else 'baseline'}")
        if self.coverage.e >= COVERAGE_LIMIT:
            found.append(f"verdicts of {name} are missing unequally: {self._missing_shares()}")
        shares = [self.missing[at] / self.seen[at] for at in (0, 1) if self.seen[at] >= MISSING_LEAST]
        if shares and max(shares) > self.metric.max_missing:
            found.append(
                f"too many verdicts of {name} are missing: {self._missing_shares()}, at most "
                f"{self.metric.max_missing:.4g} may be"
            )
        return found

    def _missing_shares(self) -> str:
        (canary, baseline), (of_canary, of_baseline) = self.missing, self.seen
        return f"{canary} of {of_canary} in the canary, {baseline} of {of_baseline} in the baseline"


def _restore(fresh: Any, state: dict[str, Any] | None) -> Any:
    return fresh if state is None else type(fresh).from_json(state)


def _kind_of(metric: Metric) -> Any:
    return metric.kind  # a binary metric that is compared: success or failure


def _harm_of(metric: Metric) -> HarmTest:
    test = metric.test()
    kind = {"failure": FailureTest, "score": ScoreTest, "latency": LatencyTest}[msgspec.to_builtins(test)["test"]]
    fields = {name: getattr(test, name) for name in test.__struct_fields__}
    return kind(**fields)  # type: ignore[no-any-return]


def _bounds(metric: Metric) -> tuple[float, float]:
    if metric.is_binary or metric.kind == "latency":
        return 0.0, 1.0
    low, high = sorted((float(metric.best), float(metric.worst)))
    return low, high
