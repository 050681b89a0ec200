"""Confidence sequence for the difference of two means: an interval that holds at all times at once."""

import math
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.bets import shortfall
from kedge.guard.sessions import Arm, check_score, check_session
from kedge.guard.settings import FORMAT, DifferenceSettings, decoded, encoded
from kedge.support.display import Value

STEEPEST = 0.75  # of 1, at which the bound becomes infinite


class Interval(Value, frozen=True):
    """Bounds of canary minus baseline, in the unit of the values."""

    low: float
    high: float


class DifferenceState(msgspec.Struct, forbid_unknown_fields=True):
    """State of a confidence sequence: counts and sums; payoffs are those of scores scaled to [0, 1]."""

    settings: DifferenceSettings
    sessions: int = 0
    total: float = 0.0  # of the scores
    payoffs: float = 0.0
    squares: float = 0.0  # of the payoffs about the mean that was known before each
    weight: float = 0.0
    weighted: float = 0.0
    penalty: float = 0.0
    low: float = -1.0
    high: float = 1.0
    format: int = FORMAT


class DifferenceSequence:
    """How much higher is the canary's mean than the baseline's, with an interval that may be read at any time?

    Method: the payoffs of `ScoreTest`, whose expectation is the difference, in a predictable empirical-Bernstein
    confidence sequence (Waudby-Smith and Ramdas 2024, theorem 2; Howard, Ramdas, McAuliffe and Sekhon 2021). With
    probability 1 - alpha the interval covers the difference at all times at once, so also when a launch stops because
    of what was seen. For successes and failures pass 1 and 0. As it looks in both directions and for every size, it may
    still hold 0 when a test has decided.

    Assumptions: those of `ScoreTest`. Both means may drift; where the difference changes, the interval covers its mean,
    weighted by `weight`.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, *, alpha: float = 0.05) -> None:
        self._state = DifferenceState(DifferenceSettings(low, high, alpha))

    @property
    def settings(self) -> DifferenceSettings:
        """The frozen settings; `.digest` is their hash."""
        return self._state.settings

    @property
    def interval(self) -> Interval:
        """The interval now."""
        width = self._state.settings.high - self._state.settings.low
        return Interval(self._state.low * width, self._state.high * width)

    def observe(self, arm: Arm, value: Any, share: float) -> Interval:
        """Take a session's value and its share at assignment; return the interval."""
        canary, share = check_session(arm, share)
        score = check_score(value, self._state.settings.low, self._state.settings.high)
        if 0 < share < 1:
            self._add(score, share, canary=canary)
        return self.interval

    def _add(self, score: float, share: float, *, canary: bool) -> None:
        state, scale = self._state, share * (1.0 - share)
        centre = (state.total + 0.5) / (state.sessions + 1)
        loss, worst = shortfall(score, centre, share, canary=canary)
        best = max(centre * (1.0 - share), (1.0 - centre) * share)
        payoff, reach = -loss / scale, (best + worst) / scale  # of canary minus baseline, within [-best, worst] / scale
        mean = min(max(state.payoffs / (state.sessions + 1), -best / scale), worst / scale)
        state.sessions += 1
        variance = (state.squares + reach * reach / 4) / state.sessions
        log_2 = math.log(2 / state.settings.alpha)
        slope = math.sqrt(2 * log_2 / (variance * state.sessions * math.log1p(state.sessions)))
        slope = min(slope, STEEPEST / reach)
        deviation = (payoff - mean) ** 2
        state.penalty += deviation / reach**2 * (-math.log1p(-slope * reach) - slope * reach)
        state.weight += slope
        state.weighted += slope * payoff
        state.total += score
        state.payoffs += payoff
        state.squares += deviation
        middle, half = state.weighted / state.weight, (log_2 + state.penalty) / state.weight
        state.low, state.high = max(-1.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> dict[str, Any]:
        """Return the state as a plain JSON document."""
        return encoded(self._state)

    @classmethod
    def from_json(cls, document: Any) -> "DifferenceSequence":
        """Return the sequence that `to_json` described, or raise `InvalidValue`."""
        state = decoded(document, DifferenceState)
        sums = (state.total, state.payoffs, state.squares, state.weight, state.weighted, state.penalty)
        if state.format != FORMAT or not all(map(math.isfinite, sums)) or state.sessions < 0:
            raise InvalidValue(
                f"invalid state of a confidence sequence, format {state.format}: pass what to_json() returned"
            )
        settings = state.settings
        sequence = cls(settings.low, settings.high, alpha=settings.alpha)
        sequence._state = state
        return sequence
