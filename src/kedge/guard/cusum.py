"""Change detection after a promotion, by e-CUSUM: against a holdback, and against the line of an SLO."""

from typing import Any, Generic, Literal, TypeVar

from kedge.guard.bets import coin
from kedge.guard.running import RunningState, RunningTest
from kedge.guard.sessions import Arm, check_failed, check_session
from kedge.guard.settings import RATIOS, HoldbackSettings, SloSettings


class HoldbackState(RunningState[HoldbackSettings]):
    """State of a comparison with a holdback."""


class SloState(RunningState[SloSettings]):
    """State of a comparison with the line of an SLO."""


StateT = TypeVar("StateT", HoldbackState, SloState)


class _Cusum(RunningTest[StateT], Generic[StateT]):
    """Wealth that starts anew at 1 wherever it was below: max(wealth, 1) × factor, the mean over the bets."""

    @property
    def alarm(self) -> bool:
        """Whether the statistic has ever reached the limit."""
        return self.peak >= self._state.settings.limit

    def _bets(self, state: StateT) -> tuple[float, ...]:
        return state.settings.ratios

    def _restart(self, log_factors: list[float]) -> None:
        state = self._state
        state.log_wealth = [max(have, 0.0) + by for have, by in zip(state.log_wealth, log_factors, strict=True)]


class HoldbackTest(_Cusum[HoldbackState]):
    """Has the promoted version begun to fail more often than a holdback of the old one?

    Null hypothesis and assumptions: those of `FailureTest`, with the promoted version as the canary. With a holdback of
    10% the share is 0.9. A drift that both versions share raises no alarm.

    Method: the coin of `FailureTest` in the CUSUM form, which detects a change at an unknown time. While the null
    holds, the mean number of failed sessions to an alarm is at least `limit`. The statistic is not an e-value. Source:
    Shin, Ramdas and Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change detection".
    """

    _kind = HoldbackState

    def __init__(
        self,
        kind: Literal["success", "failure"] = "success",
        *,
        limit: float = 1000.0,
        ratios: tuple[float, ...] = RATIOS,
    ) -> None:
        settings = HoldbackSettings(kind, limit, ratios)
        super().__init__(HoldbackState(settings, [0.0] * len(settings.ratios)))

    def observe(self, arm: Arm, value: Any, share: float) -> float:
        """Take a session's outcome, True or False, and its share at assignment; return the statistic."""
        canary, share = check_session(arm, share)
        failed = check_failed(value, self._state.settings.kind)
        self._count(canary=canary)
        if failed and 0 < share < 1:
            self._restart(coin(self._state.settings.ratios, share, hit=canary))
        return self._e_value()


class SloTest(_Cusum[SloState]):
    """Has the failure rate risen above the line of an SLO?

    Null hypothesis: given the past, a session fails with probability `line` at most. There is no baseline, so a drift
    that the version did not cause raises an alarm too: use it to degrade, not to roll back.

    Method and source: those of `HoldbackTest`; the coin is the failure of a session. While the null holds, the mean
    number of sessions to an alarm is at least `limit`.
    """

    _kind = SloState

    def __init__(
        self,
        line: float,
        kind: Literal["success", "failure"] = "success",
        *,
        limit: float = 200_000.0,
        ratios: tuple[float, ...] = RATIOS,
    ) -> None:
        settings = SloSettings(line, kind, limit, ratios)
        super().__init__(SloState(settings, [0.0] * len(settings.ratios)))

    def observe(self, value: Any) -> float:
        """Take a session's outcome, True or False; return the statistic."""
        settings = self._state.settings
        failed = check_failed(value, settings.kind)
        self._count(canary=True)
        self._restart(coin(settings.ratios, settings.line, hit=failed))
        return self._e_value()
