"""The state that sequential tests have in common: logarithms of wealth, the peak, counts of sessions."""

import math
from typing import Any, Generic, Self, TypeVar

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.bets import log_mean, plain
from kedge.guard.decisions import Evidence
from kedge.guard.settings import FORMAT, Settings, decoded, encoded

SettingsT = TypeVar("SettingsT", bound=Settings)


class RunningState(msgspec.Struct, Generic[SettingsT], forbid_unknown_fields=True):
    """State of a test: settings, the logarithm of the wealth of each bet, the highest e-value, sessions of each arm."""

    settings: SettingsT
    log_wealth: list[float]
    log_peak: float = 0.0
    canary: int = 0
    baseline: int = 0
    format: int = FORMAT


StateT = TypeVar("StateT", bound=RunningState[Any])


class RunningTest(Generic[StateT]):
    """A sequential test: its e-value now, the highest until now, and its state as a plain document."""

    _kind: type[StateT]

    def __init__(self, state: StateT) -> None:
        self._state = state

    @property
    def settings(self) -> Any:
        """The frozen settings of this test; `.digest` is their hash."""
        return self._state.settings

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value."""
        return log_mean(self._state.log_wealth)

    @property
    def e(self) -> float:
        """The e-value now; at most the largest float."""
        return plain(self.log_e)

    @property
    def peak(self) -> float:
        """The highest e-value until now; at most the largest float."""
        return plain(self._state.log_peak)

    @property
    def evidence(self) -> Evidence:
        """The evidence of this test, for `decide`."""
        return Evidence(self.log_e, self._state.log_peak)

    @property
    def sessions(self) -> tuple[int, int]:
        """How many sessions were observed: the canary's, the baseline's."""
        return self._state.canary, self._state.baseline

    def to_json(self) -> dict[str, Any]:
        """Return the state as a plain JSON document, from which `from_json` goes on with the same e-values."""
        return encoded(self._state)

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Return the test that `to_json` described, or raise `InvalidValue`."""
        state = decoded(document, cls._kind)
        test = cls.__new__(cls)
        RunningTest.__init__(test, state)
        if state.format != FORMAT:
            raise InvalidValue(f"invalid format {state.format} of a test's state: this Kedge reads format {FORMAT}")
        test._check(state)  # noqa: SLF001 - an instance of this class
        return test

    def _check(self, state: StateT) -> None:
        """Raise `InvalidValue` unless a decoded state fits its settings."""
        self._check_wealth(state.log_wealth, len(self._bets(state)))
        self._check_wealth([state.log_peak], 1)
        if min(state.canary, state.baseline) < 0:
            raise InvalidValue("invalid count of sessions below 0 in a test's state; pass what to_json() returned")

    @staticmethod
    def _check_wealth(log_wealth: list[float], bets: int) -> None:
        if len(log_wealth) != bets or not all(math.isfinite(each) for each in log_wealth):
            raise InvalidValue(f"invalid wealth {log_wealth} in a test's state: must be {bets} finite numbers")

    def _bets(self, state: StateT) -> tuple[float, ...]:
        """Return the bets of the settings, one for each wealth."""
        raise NotImplementedError

    def _count(self, *, canary: bool) -> None:
        state = self._state
        state.canary += canary
        state.baseline += not canary

    def _move(self, log_factors: list[float]) -> None:
        state = self._state
        state.log_wealth = [have + factor for have, factor in zip(state.log_wealth, log_factors, strict=True)]

    def _e_value(self) -> float:
        """Return the e-value after an observation, and keep the peak."""
        log_e = self.log_e
        self._state.log_peak = max(self._state.log_peak, log_e)
        return plain(log_e)
