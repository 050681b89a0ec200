"""Sequential test of latencies: ranks, and exceedances of the pooled 95th percentile."""

from bisect import bisect_left, bisect_right, insort
from typing import Any

from kedge.errors import InvalidValue
from kedge.guard.bets import coin, log_mean, shortfall, stake
from kedge.guard.running import RunningState, RunningTest
from kedge.guard.sessions import Arm, check_latency, check_session
from kedge.guard.settings import FRACTIONS, RATIOS, LatencySettings


class LatencyState(RunningState[LatencySettings], kw_only=True):
    """State of a test of latencies: the wealth of the ranks, that of the exceedances, and the last latencies."""

    log_tail: list[float]
    recent: list[float]


class LatencyTest(RunningTest[LatencyState]):
    """Is the canary slower than the concurrent baseline, in the middle or in the tail?

    Null hypothesis: at each session the canary's latency is stochastically at most the baseline's (for every limit, it
    is exceeded at most as often). Both may drift together.

    Method: the rank of a latency among the last `window` ones of both arms, ties in the middle, is a score in [0, 1]
    that was fixed beforehand and rises with the latency; the test bets on it like `ScoreTest`. A latency with at least
    `quantile` of the window below it is an exceedance; the test bets on these like `FailureTest` on failures. The
    e-value is the mean of the two. Nothing is bet until 20 latencies are known. Sources: those of `ScoreTest` and
    `FailureTest`; the mean of e-processes is one (Vovk and Wang 2021, "E-values: calibration, combination and
    applications").

    Assumptions: those of `FailureTest`. A session without an answer counts with its timeout, in both arms. A canary
    that is faster in the middle and slower in the tail lies outside the null, and is found by its tail.
    """

    _kind = LatencyState
    WARM_UP = 20

    def __init__(
        self,
        *,
        window: int = 400,
        quantile: float = 0.95,
        fractions: tuple[float, ...] = FRACTIONS,
        ratios: tuple[float, ...] = RATIOS,
    ) -> None:
        settings = LatencySettings(window, quantile, fractions, ratios)
        ranks, tail = [0.0] * len(settings.fractions), [0.0] * len(settings.ratios)
        super().__init__(LatencyState(settings, ranks, log_tail=tail, recent=[]))
        self._sorted: list[float] = []

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value."""
        return log_mean([log_mean(self._state.log_wealth), log_mean(self._state.log_tail)])

    def observe(self, arm: Arm, value: Any, share: float) -> float:
        """Take a session's latency, in any unit, and its share at assignment; return the e-value."""
        canary, share = check_session(arm, share)
        latency = check_latency(value)
        self._count(canary=canary)
        if len(self._sorted) >= self.WARM_UP and 0 < share < 1:
            self._bet(latency, share, canary=canary)
        self._remember(latency)
        return self._e_value()

    def _bet(self, latency: float, share: float, *, canary: bool) -> None:
        state, settings, known = self._state, self._state.settings, len(self._sorted)
        below, not_above = bisect_left(self._sorted, latency), bisect_right(self._sorted, latency)
        speed = 1.0 - (below + not_above) / (2 * known)  # a score: 1 is the fastest
        self._move(stake(settings.fractions, *shortfall(speed, 0.5, share, canary=canary)))
        if below >= settings.quantile * known:
            factors = coin(settings.ratios, share, hit=canary)
            state.log_tail = [have + factor for have, factor in zip(state.log_tail, factors, strict=True)]

    def _remember(self, latency: float) -> None:
        recent, window = self._state.recent, self._state.settings.window
        if len(recent) == window:
            del self._sorted[bisect_left(self._sorted, recent.pop(0))]
        recent.append(latency)
        insort(self._sorted, latency)

    def _bets(self, state: LatencyState) -> tuple[float, ...]:
        return state.settings.fractions

    def _check(self, state: LatencyState) -> None:
        super()._check(state)
        self._check_wealth(state.log_tail, len(state.settings.ratios))
        if len(state.recent) > state.settings.window:
            raise InvalidValue(
                f"invalid state with {len(state.recent)} latencies: its window is {state.settings.window}"
            )
        self._sorted = sorted(check_latency(latency) for latency in state.recent)
