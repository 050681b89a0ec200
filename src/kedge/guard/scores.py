"""Sequential test of bounded scores, by betting."""

import math
from typing import Any, Generic, TypeVar

from kedge.errors import InvalidValue
from kedge.guard.bets import shortfall, stake
from kedge.guard.running import RunningState, RunningTest, SettingsT
from kedge.guard.sessions import Arm, check_score, check_session
from kedge.guard.settings import FRACTIONS, ScoreSettings


class ScoredState(RunningState[SettingsT], Generic[SettingsT], kw_only=True):
    """State of a test of bounded scores: besides the wealth, the sum of the scores, scaled to [0, 1]."""

    total: float = 0.0


ScoredT = TypeVar("ScoredT", bound=ScoredState[Any])


class ScoredTest(RunningTest[ScoredT], Generic[ScoredT]):
    """A test that bets on bounded scores around the mean of all earlier ones."""

    def _take(self, arm: Arm, value: Any, share: float) -> tuple[bool, float, float, float]:
        """Count a session; return whether it is the canary's, its share and score, and the mean before it."""
        canary, share = check_session(arm, share)
        state, settings = self._state, self._state.settings
        score = check_score(value, settings.low, settings.high)
        centre = (state.total + 0.5) / (state.canary + state.baseline + 1)
        self._count(canary=canary)
        state.total += score
        return canary, share, score, centre

    def _bets(self, state: ScoredT) -> tuple[float, ...]:
        fractions: tuple[float, ...] = state.settings.fractions
        return fractions

    def _check(self, state: ScoredT) -> None:
        super()._check(state)
        if not (math.isfinite(state.total) and 0 <= state.total <= state.canary + state.baseline):
            raise InvalidValue(f"invalid total {state.total} in a test's state: must be at most the count of sessions")


class ScoreState(ScoredState[ScoreSettings], kw_only=True):
    """State of `ScoreTest`."""


class ScoreTest(ScoredTest[ScoreState]):
    """Is the canary's mean score lower than the concurrent baseline's?

    Null hypothesis: at each session the canary's mean is at least the baseline's. Both may drift together.

    Method: scores are scaled to [0, 1]. A session pays (m - x)/share in the canary and -(m - x)/(1 - share) in the
    baseline, where m is the mean of all earlier scores. The expectation of the payoff over the random assignment is
    mean(baseline) - mean(canary), so at most 0 under the null. The test bets fixed fractions of what it can lose
    at worst, with equal capital on each. Sources: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
    variables by betting" (capital process, mixture of bets); Horvitz and Thompson 1952 (weights); Ville 1939.

    Assumptions: those of `FailureTest`, and scores within `low` and `high`; a higher score is better. Where the share
    is 0 or 1 there is nothing to compare: the e-value stays.
    """

    _kind = ScoreState

    def __init__(self, low: float = 0.0, high: float = 1.0, *, fractions: tuple[float, ...] = FRACTIONS) -> None:
        settings = ScoreSettings(low, high, fractions)
        super().__init__(ScoreState(settings, [0.0] * len(settings.fractions)))

    def observe(self, arm: Arm, value: Any, share: float) -> float:
        """Take a session's score and its share at assignment; return the e-value."""
        canary, share, score, centre = self._take(arm, value, share)
        if 0 < share < 1:
            self._move(stake(self._state.settings.fractions, *shortfall(score, centre, share, canary=canary)))
        return self._e_value()
