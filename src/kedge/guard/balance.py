"""Balance test: is the canary's part of some sessions what its traffic share says?"""

from kedge.guard.bets import coin
from kedge.guard.running import RunningState, RunningTest
from kedge.guard.sessions import Arm, check_session
from kedge.guard.settings import RATIOS, Settings, check_ratios


class BalanceSettings(Settings, frozen=True, tag="balance"):
    """Settings of `BalanceTest`: the odds ratios that it bets on, in both directions."""

    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        self._normalize(ratios=check_ratios(self.ratios))


class BalanceState(RunningState[BalanceSettings]):
    """State of a test of balance."""


class BalanceTest(RunningTest[BalanceState]):
    """Do sessions fall to the canary as often as their share says, neither more often nor less?

    Null hypothesis: each session that is observed is the canary's with probability `share`. With all sessions it finds
    a sample-ratio mismatch; with those whose verdict is missing, a coverage that differs between the arms.

    Method: the coin of `FailureTest`, with bets on higher and on lower odds, and equal capital on each.
    """

    _kind = BalanceState

    def __init__(self, *, ratios: tuple[float, ...] = RATIOS) -> None:
        settings = BalanceSettings(ratios)
        super().__init__(BalanceState(settings, [0.0] * (2 * len(settings.ratios))))

    def observe(self, arm: Arm, share: float) -> float:
        """Take a session and its share at assignment; return the e-value."""
        canary, share = check_session(arm, share)
        self._count(canary=canary)
        if 0 < share < 1:
            self._move(coin(self._bets(self._state), share, hit=canary))
        return self._e_value()

    def _bets(self, state: BalanceState) -> tuple[float, ...]:
        ratios = state.settings.ratios
        return (*ratios, *(1 / ratio for ratio in ratios))
