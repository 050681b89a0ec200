"""Settings of the guard: frozen, comparable and hashed, so that a manifest can fix them before the first session."""

import hashlib
import json
import math
from typing import Any, Literal, TypeVar

import msgspec

from kedge.errors import InvalidValue
from kedge.model.checks import check_name
from kedge.model.numbers import as_integer, as_real
from kedge.support.display import brief

FORMAT = 1  # of settings and of states; the digest includes it
RATIOS = (1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 8.0)
FRACTIONS = (0.03, 0.06, 0.12, 0.25, 0.5, 0.9)
WEIGHT_SLACK = 1e-9  # a sum of weights such as 0.1 + 0.2 + 0.7

Struct = TypeVar("Struct", bound=msgspec.Struct)


def digest(settings: msgspec.Struct) -> str:
    """Return `sha256:…` of settings: equal for equal settings, on every machine and in every process."""
    document = {"format": FORMAT, "settings": encoded(settings)}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def encoded(struct: msgspec.Struct) -> dict[str, Any]:
    """Return the plain JSON document of a struct: lists, not tuples."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(struct))
    return document


def decoded(document: Any, kind: type[Struct]) -> Struct:
    """Return a struct of its plain document, or raise `InvalidValue`."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, TypeError) as fault:
        raise InvalidValue(
            f"invalid {kind.__name__} {brief(document)}: {fault}; pass what to_json() returned"
        ) from None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="test"):
    """Settings of one test. Its digest is part of a launch's manifest."""

    @property
    def digest(self) -> str:
        """`sha256:…` of these settings."""
        return digest(self)

    def _normalize(self, **values: object) -> None:
        for name, value in values.items():
            msgspec.structs.force_setattr(self, name, value)


class FailureSettings(Settings, frozen=True, tag="failure"):
    """Settings of `FailureTest`: what True means, and the odds ratios that it bets on."""

    kind: Literal["success", "failure"] = "success"
    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        self._normalize(kind=check_kind(self.kind), ratios=check_ratios(self.ratios))


class ScoreSettings(Settings, frozen=True, tag="score"):
    """Settings of `ScoreTest`: the bounds of a score, and the fractions of its wealth that it bets."""

    low: float = 0.0
    high: float = 1.0
    fractions: tuple[float, ...] = FRACTIONS

    def __post_init__(self) -> None:
        low, high = check_bounds(self.low, self.high)
        self._normalize(low=low, high=high, fractions=check_fractions(self.fractions))


class LatencySettings(Settings, frozen=True, tag="latency"):
    """Settings of `LatencyTest`: the window of ranks, the quantile that counts as slow, the bets of both parts."""

    window: int = 400
    quantile: float = 0.95
    fractions: tuple[float, ...] = FRACTIONS
    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        self._normalize(
            window=as_integer("window", self.window, "an integer from 20 to 100000", least=20, most=100_000),
            quantile=within("quantile", self.quantile, 0.0, 1.0),
            fractions=check_fractions(self.fractions),
            ratios=check_ratios(self.ratios),
        )


class HoldbackSettings(Settings, frozen=True, tag="holdback"):
    """Settings of `HoldbackTest`. The limit bounds false alarms: one in so many failed sessions at most, on average."""

    kind: Literal["success", "failure"] = "success"
    limit: float = 1000.0
    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        self._normalize(kind=check_kind(self.kind), limit=above_one("limit", self.limit))
        self._normalize(ratios=check_ratios(self.ratios))


class SloSettings(Settings, frozen=True, tag="slo"):
    """Settings of `SloTest`: the failure rate that is allowed, and the mean number of sessions to a false alarm."""

    line: float
    kind: Literal["success", "failure"] = "success"
    limit: float = 200_000.0
    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        self._normalize(line=within("line", self.line, 0.0, 1.0), kind=check_kind(self.kind))
        self._normalize(limit=above_one("limit", self.limit), ratios=check_ratios(self.ratios))


class DifferenceSettings(Settings, frozen=True, tag="difference"):
    """Settings of `DifferenceSequence`: the bounds of the values, and the probability of ever being wrong."""

    low: float = 0.0
    high: float = 1.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        low, high = check_bounds(self.low, self.high)
        self._normalize(low=low, high=high, alpha=within("alpha", self.alpha, 0.0, 1.0))


class MetricSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric of a launch: its name, its test, and its part of the allowed false alarms."""

    name: str
    test: FailureSettings | ScoreSettings | LatencySettings
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_name("the metric", self.name)
        if not isinstance(self.test, FailureSettings | ScoreSettings | LatencySettings):
            raise InvalidValue(f"invalid test {brief(self.test)} of {self.name!r}: must be the settings of a test")
        weight = as_real(self.weight)
        if weight is None or not 0 < weight <= 1:
            raise InvalidValue(f"invalid weight {brief(self.weight)} of {self.name!r}: must be above 0, and 1 at most")
        msgspec.structs.force_setattr(self, "weight", float(weight))


class GuardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a launch: its metrics, the probability of a false rollback, and the e-values of the lower steps.

    A metric of weight w rolls back at an e-value of 1/(alpha · w). As the weights add up to 1 at most, all metrics
    together roll back a harmless canary with probability alpha at most (a union bound: they may depend on each other).
    """

    metrics: tuple[MetricSettings, ...]
    alpha: float = 0.05
    hold: float = 3.0
    degrade: float = 10.0

    def __post_init__(self) -> None:
        metrics = tuple(self.metrics) if isinstance(self.metrics, tuple | list) else ()
        if not all(isinstance(metric, MetricSettings) for metric in metrics):
            raise InvalidValue(f"invalid metrics {brief(metrics)}: must be a tuple of MetricSettings(…)")
        names = [metric.name for metric in metrics]
        if not metrics or len(set(names)) < len(names):
            raise InvalidValue(f"invalid metrics {names}: give at least one, each with a name of its own")
        total = math.fsum(metric.weight for metric in metrics)
        if total > 1 + WEIGHT_SLACK:
            raise InvalidValue(f"invalid weights, which add up to {total:g}: must be 1 at most; lower some of them")
        hold, degrade = above_one("hold", self.hold), above_one("degrade", self.degrade)
        if hold > degrade:
            raise InvalidValue(f"invalid hold={hold:g}: must not be above degrade={degrade:g}")
        changed = {"metrics": metrics, "alpha": within("alpha", self.alpha, 0.0, 1.0), "hold": hold, "degrade": degrade}
        for name, value in changed.items():
            msgspec.structs.force_setattr(self, name, value)

    @property
    def digest(self) -> str:
        """`sha256:…` of these settings."""
        return digest(self)

    def log_threshold(self, metric: MetricSettings) -> float:
        """Return the logarithm of the e-value at which a metric rolls back."""
        return -math.log(self.alpha * metric.weight)

    def to_json(self) -> dict[str, Any]:
        """Return the plain document."""
        return encoded(self)

    @classmethod
    def from_json(cls, document: Any) -> "GuardSettings":
        """Return the settings of a plain document, or raise `InvalidValue`."""
        return decoded(document, cls)


def check_kind(kind: object) -> str:
    """Return what True means, or raise `InvalidValue`."""
    if kind not in ("success", "failure"):
        raise InvalidValue(f"invalid kind {brief(kind)}: must be 'success' or 'failure', which is what True means")
    return str(kind)


def check_bounds(low: object, high: object) -> tuple[float, float]:
    """Return the bounds of a score, or raise `InvalidValue`."""
    least, most = as_real(low), as_real(high)
    if least is None or most is None or not math.isfinite(most - least) or not least < most:
        raise InvalidValue(f"invalid bounds {brief(low)} and {brief(high)}: must be two finite numbers, low below high")
    return float(least), float(most)


def check_ratios(ratios: object) -> tuple[float, ...]:
    """Return odds ratios, or raise `InvalidValue`."""
    return _several("ratios", ratios, "finite numbers above 1", 1.0, math.inf)


def check_fractions(fractions: object) -> tuple[float, ...]:
    """Return fractions of the wealth, or raise `InvalidValue`."""
    return _several("fractions", fractions, "numbers above 0 and below 0.999", 0.0, 0.999)


def within(what: str, value: object, least: float, most: float) -> float:
    """Return a number strictly between two others, or raise `InvalidValue`."""
    number = as_real(value)
    if number is None or not least < number < most:
        raise InvalidValue(f"invalid {what} {brief(value)}: must be a number above {least:g} and below {most:g}")
    return float(number)


def above_one(what: str, value: object) -> float:
    """Return a finite number above 1, or raise `InvalidValue`."""
    number = as_real(value)
    if number is None or not 1 < number < math.inf:
        raise InvalidValue(f"invalid {what} {brief(value)}: must be a finite number above 1")
    return float(number)


def _several(what: str, given: object, must_be: str, least: float, most: float) -> tuple[float, ...]:
    numbers = [as_real(each) for each in given] if isinstance(given, tuple | list) else []
    found = tuple(float(each) for each in numbers if each is not None and least < each < most)
    if not found or len(found) < len(numbers):
        raise InvalidValue(f"invalid {what} {brief(given)}: must be a tuple of {must_be}")
    return found
