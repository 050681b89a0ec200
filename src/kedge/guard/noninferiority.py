"""Non-inferiority test: evidence that a canary's mean is not lower than the baseline's by a margin, by betting."""

import math

from kedge.guard.bets import shortfall, stake
from kedge.guard.scores import ScoredState, ScoredTest
from kedge.guard.sessions import Arm
from kedge.guard.settings import FRACTIONS, Settings, check_bounds, check_fractions, within


class NonInferioritySettings(Settings, frozen=True, tag="non_inferiority"):
    """Settings of `NonInferiorityTest`: the margin, in the unit of the scores, and the bounds of these."""

    margin: float
    low: float = 0.0
    high: float = 1.0
    fractions: tuple[float, ...] = FRACTIONS

    def __post_init__(self) -> None:
        low, high = check_bounds(self.low, self.high)
        self._normalize(low=low, high=high, fractions=check_fractions(self.fractions))
        self._normalize(margin=within("margin", self.margin, 0.0, high - low))


class NonInferiorityState(ScoredState[NonInferioritySettings], kw_only=True):
    """State of a test of non-inferiority."""


class NonInferiorityTest(ScoredTest[NonInferiorityState]):
    """Is the canary's mean score at most `margin` below the concurrent baseline's?

    Null hypothesis: at each session the canary's mean is lower than the baseline's by `margin` or more. Both may drift
    together. A high e-value is evidence that the canary may be promoted.

    Method: the payoff of `ScoreTest` with its sign turned, plus the margin. Its expectation over the random assignment
    is mean(canary) - mean(baseline) + margin, so at most 0 under the null. The test bets fixed fractions of what it can
    lose at worst, with equal capital on each. Sources and assumptions: those of `ScoreTest`. For successes and failures
    pass 1 and 0.
    """

    _kind = NonInferiorityState

    def __init__(
        self, margin: float, low: float = 0.0, high: float = 1.0, *, fractions: tuple[float, ...] = FRACTIONS
    ) -> None:
        settings = NonInferioritySettings(margin, low, high, fractions)
        super().__init__(NonInferiorityState(settings, [0.0] * len(settings.fractions)))

    def observe(self, arm: Arm, value: float, share: float) -> float:
        """Take a session's score and its share at assignment; return the e-value."""
        canary, share, score, centre = self._take(arm, value, share)
        settings = self._state.settings
        if 0 < share < 1:
            rest = 1.0 - share
            allowance = settings.margin / (settings.high - settings.low) * share * rest
            payoff, _ = shortfall(score, centre, share, canary=canary)
            worst = max(centre * rest, (1.0 - centre) * share) - allowance  # above 0: the maximum is share · rest
            self._move(stake(settings.fractions, allowance - payoff, worst))
        return self._e_value()

    def more_sessions(self, limit: float) -> int | None:
        """Return about how many more sessions reach an e-value at the pace until now; None where it does not rise."""
        seen, log_e, wanted = sum(self.sessions), self.log_e, math.log(limit)
        if log_e >= wanted:
            return 0
        return None if log_e <= 0 or not seen else math.ceil((wanted - log_e) * seen / log_e)
