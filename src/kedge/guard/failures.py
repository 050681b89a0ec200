"""Sequential test of failures: each failed session is a coin between canary and baseline."""

from typing import Any, Literal

from kedge.guard.bets import coin
from kedge.guard.running import RunningState, RunningTest
from kedge.guard.sessions import Arm, check_failed, check_session
from kedge.guard.settings import RATIOS, FailureSettings


class FailureState(RunningState[FailureSettings]):
    """State of a test of failures."""


class FailureTest(RunningTest[FailureState]):
    """Does the canary fail more often than the concurrent baseline?

    Null hypothesis: at each session the canary's failure rate is at most the baseline's. The rates may drift together.

    Method: if both rates are equal, the next failed session is the canary's with probability `share`; in general with
    share·p / (share·p + (1 - share)·q). The test bets that the odds of this coin are `ratios` times higher, with equal
    capital on each ratio. A success leaves the e-value as it is. The e-value is a mean of likelihood ratios whose
    expectation under the null is at most 1 at each failure, so it reaches 1/α with probability at most α, however
    often one looks. Sources: Wald 1945 (conditional test of two proportions); Robbins 1970 (mixtures); Ville 1939.

    Assumptions: each session was assigned to the canary at random with probability `share`, known beforehand; what
    is observed is the unit that was assigned (with several sessions a user, a user's first failure); verdicts of both
    arms are equally delayed, or taken at a deadline.

    `kind` says what True means: "success" (the default, as in `turn.observe("resolved", True)`) or "failure".
    """

    _kind = FailureState

    def __init__(self, kind: Literal["success", "failure"] = "success", *, ratios: tuple[float, ...] = RATIOS) -> None:
        settings = FailureSettings(kind, ratios)
        super().__init__(FailureState(settings, [0.0] * len(settings.ratios)))

    def observe(self, arm: Arm, value: Any, share: float) -> float:
        """Take a session's outcome, True or False, and its share at assignment; return the e-value."""
        canary, share = check_session(arm, share)
        settings = self._state.settings
        failed = check_failed(value, settings.kind)
        self._count(canary=canary)
        if failed and 0 < share < 1:
            self._move(coin(settings.ratios, share, hit=canary))
        return self._e_value()

    def _bets(self, state: FailureState) -> tuple[float, ...]:
        return state.settings.ratios
