"""Declared metrics: their kind, range, deadline and weight, and the check of a value at the door."""

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, Self, get_args

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.checks import check_name
from kedge.model.durations import check_duration
from kedge.model.numbers import as_plain, as_real
from kedge.support.display import Value, brief

OWN = "kedge:"  # prefix of Kedge's own metrics
Kind = Literal["success", "failure", "score", "latency", "count", "ratio", "event"]
Role = Literal["guardrail", "signal"]
Verdict = float | bool | None
KINDS: tuple[str, ...] = get_args(Kind)
ROLES: tuple[str, ...] = get_args(Role)
BINARY = ("success", "failure", "event")
METRICS_MAX = 64  # in one database: they lie in the control record
DEADLINE_SECONDS = 3_600.0
MISSING_MAX = 0.1
LARGEST = 1e300  # sums of values stay finite

TYPE, RANGE, STALE, FUTURE = "type", "range", "stale", "future"  # why a value is refused

_BOUNDS = {  # by kind: the default of low and of high; None: it must be given
    "score": (0.0, 1.0),
    "latency": (0.0, None),
    "count": (0.0, None),
    "ratio": (0.0, None),
}
_BETTER = {"score": "higher", "latency": "lower", "count": "lower", "ratio": "lower"}
_BY_KIND = {  # the keys that only some kinds take
    "low": ("score", "ratio"),
    "high": ("score", "count", "ratio"),
    "timeout": ("latency",),
    "better": ("score", "count", "ratio"),
    "aggregate": ("latency",),
    "absent": ("success", "failure", "score", "count"),
    "hard": ("success", "failure"),
    "unit": ("score", "latency", "count", "ratio"),
}


class DeclaredMetric(Value, frozen=True, omit_defaults=True):
    """A metric that was declared: what its values mean, and what the guard may do with them.

    `high` of a latency is its timeout. `weight`: its part of the allowed false rollbacks; None: an equal part of what
    the others leave. `deadline`: the seconds after a session's assignment until which its values count; `fresh`: how
    many seconds after it was made a value may arrive. `max_missing`: the share of sessions without a value above which
    the guard holds. `absent`: what counts where a session observed nothing; None: that it is missing. A signal stops
    a ramp and rolls nothing back. With `hard`, and for an event, one bad value acts at once.
    """

    name: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    role: Role = "guardrail"
    weight: float | None = None
    deadline: float = DEADLINE_SECONDS
    fresh: float | None = None
    max_missing: float = MISSING_MAX
    better: str = ""
    aggregate: str = ""
    absent: float | bool | None = None
    hard: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        where = f"the metric {self.name!r}"
        check_metric_name(self.name)
        one_of(f"kind of {where}", self.kind, KINDS)
        one_of(f"role of {where}", self.role, ROLES)
        low, high = self._bounds(where)
        changed: dict[str, Any] = {"low": low, "high": high}
        changed["deadline"] = check_duration(f"deadline of {where}", self.deadline)
        changed["fresh"] = None if self.fresh is None else check_duration(f"fresh of {where}", self.fresh)
        changed["max_missing"] = _part(f"max_missing of {where}", self.max_missing, least=0.0)
        changed["weight"] = None if self.weight is None else _part(f"weight of {where}", self.weight)
        changed["better"] = one_of(
            f"better of {where}",
            self.better or _BETTER.get(self.kind, ""),
            ("higher", "lower") if low is not None else ("",),
        )
        changed["aggregate"] = self._aggregate(where)
        if self.kind == "ratio":
            changed["role"] = "signal"
        if self.kind == "event":
            changed["hard"] = True
        for what, must_be in (("hard", bool), ("unit", str)):
            if not isinstance(getattr(self, what), must_be):
                word = "true or false" if must_be is bool else "text"
                raise InvalidValue(f"invalid {what} {brief(getattr(self, what))} of {where}: must be {word}")
        if self.absent is not None and not isinstance(self.absent, bool):
            given = as_real(self.absent)
            changed["absent"] = self.absent if given is None else float(given)
        for name, value in changed.items():
            msgspec.structs.force_setattr(self, name, value)
        if self.absent is not None and (why := self.refusal(self.absent)):
            raise InvalidValue(f"invalid absent {brief(self.absent)} of {where}: {self.must_be} ({why})")

    def _bounds(self, where: str) -> tuple[float | None, float | None]:
        if self.kind not in _BOUNDS:
            return None, None
        defaults = _BOUNDS[self.kind]
        word = "timeout" if self.kind == "latency" else "high"
        least = defaults[0] if self.low is None else as_real(self.low)
        most = defaults[1] if self.high is None else as_real(self.high)
        if self.high is None and most is None:
            raise InvalidValue(
                f"{where} of kind {self.kind} has no {word}; give {word} = the largest value that counts"
            )
        if least is None or most is None or not math.isfinite(most - least) or not least < most:
            raise InvalidValue(
                f"invalid low {brief(self.low)} and {word} {brief(self.high)} of {where}: must be two finite numbers, "
                "low below high"
            )
        return float(least), float(most)

    def _aggregate(self, where: str) -> str:
        if self.kind != "latency":
            return ""
        return one_of(f"aggregate of {where}", self.aggregate or "max", ("max", "mean"))

    @property
    def is_binary(self) -> bool:
        """Whether its verdict is True or False."""
        return self.kind in BINARY

    @property
    def is_hard(self) -> bool:
        """Whether one bad value acts at once."""
        return self.hard

    @property
    def is_tested(self) -> bool:
        """Whether sessions are compared by it: all kinds but events."""
        return self.kind != "event"

    @property
    def must_be(self) -> str:
        """What a value must be, in words."""
        if self.is_binary:
            return "must be True or False"
        if self.kind in ("latency", "count"):
            return "must be a finite number, 0 or more"
        if self.kind == "ratio":
            return "must be a pair of finite numbers [numerator, denominator], the denominator 0 or more"
        return f"must be a number from {self.low:g} to {self.high:g}"

    def refusal(self, value: Any) -> str | None:
        """Return why a value is refused at the door, "type" or "range"; None where it is taken."""
        value = as_plain(value)
        if self.is_binary:
            return None if isinstance(value, bool) else TYPE
        if self.kind == "ratio":
            pair = [as_real(each) for each in value] if isinstance(value, list | tuple) and len(value) == 2 else [None]  # noqa: PLR2004
            if any(each is None for each in pair):
                return TYPE
            return None if all(-LARGEST <= (each or 0) <= LARGEST for each in pair) and (pair[1] or 0) >= 0 else RANGE
        number = as_real(value)
        if number is None:
            return TYPE
        if self.kind == "score":
            return None if (self.low or 0.0) <= number <= (self.high or 0.0) else RANGE
        return None if 0 <= number <= LARGEST else RANGE

    def is_bad(self, value: Any) -> bool:
        """Return whether one value of a hard metric acts at once."""
        return self.hard and isinstance(value, bool) and value is (self.kind != "success")

    @property
    def worst(self) -> float | bool:
        """The worst verdict that a session can have, as its test takes it."""
        if self.is_binary:
            return self.kind != "success"
        return self._signed(self.low if self.better == "higher" else self.high)

    @property
    def best(self) -> float | bool:
        """The best verdict that a session can have, as its test takes it."""
        if self.is_binary:
            return self.kind == "success"
        return self._signed(self.high if self.better == "higher" else self.low)

    def verdict(self, values: list[Any]) -> Verdict:
        """Return a session's verdict, as its test takes it, from its values until the deadline; None: it is missing.

        success: whether all succeeded; failure, event: whether any failed; score: the mean; latency: the largest or the
        mean, at most the timeout; count: the sum, at most `high`; ratio: sum by sum, within its bounds. Where lower is
        better the verdict is the negative, save of a latency.
        """
        if not values:
            return self.absent if self.is_binary or self.absent is None else self._signed(self._within(self.absent))
        if self.is_binary:
            return all(values) if self.kind == "success" else any(values)
        if self.kind == "ratio":
            below = math.fsum(each[1] for each in values)
            return None if below <= 0 else self._signed(self._within(math.fsum(each[0] for each in values) / below))
        if self.kind == "latency" and self.aggregate == "max":
            return self._within(max(values))
        total = math.fsum(values)
        return self._signed(self._within(total if self.kind == "count" else total / len(values)))

    def _within(self, value: float) -> float:
        return float(min(max(value, self.low or 0.0), self.high if self.high is not None else value))

    def _signed(self, value: float | None) -> float:
        number = 0.0 if value is None else float(value)
        return number if self.kind == "latency" or self.better == "higher" else 0.0 - number

    @classmethod
    def read(cls, name: str, table: Any, also: Collection[str] = ()) -> Self:
        """Return the metric of a TOML table, or raise `InvalidValue` that names the nearest key, of `also`, too."""
        where = f"the metric {name!r}"
        if not isinstance(table, Mapping):
            raise InvalidValue(f'{where} is {brief(table)}; write a table, such as [metrics.{name}] kind = "success"')
        known = sorted({*cls.__struct_fields__, *_BY_KIND, *also} - {"name"})
        if unknown := [str(key) for key in table if key not in known]:
            near = nearest(unknown[0], known)
            raise InvalidValue(f"{where} has the unknown key {unknown[0]!r}{near}; keys: {', '.join(known)}")
        if "kind" not in table:
            raise InvalidValue(f"{where} has no kind; give kind = one of {', '.join(KINDS)}")
        kind = one_of(f"kind of {where}", table["kind"], KINDS)
        fields: dict[str, Any] = {}
        for key, value in table.items():
            if kind not in _BY_KIND.get(key, (kind,)):
                raise InvalidValue(
                    f"{where} of kind {kind} has the key {key!r}, which is only of the kinds "
                    f"{', '.join(_BY_KIND[key])}; leave it out"
                )
            fields["high" if key == "timeout" else key] = value
        if kind == "ratio" and table.get("role", "signal") != "signal":
            raise InvalidValue(f"invalid role {brief(table['role'])} of {where}: a ratio is a signal; leave it out")
        return cls(name=name, **fields)


def check_metric_name(metric: object) -> str:
    """Return the name of a user's metric, or raise `InvalidValue`."""
    name = check_name("the metric", metric)
    if name.startswith(OWN):
        raise InvalidValue(f"invalid metric {name!r}: the prefix {OWN!r} is reserved; choose another name")
    return name


def one_of(what: str, given: object, choices: tuple[str, ...]) -> str:
    """Return a word that is one of these, or raise `InvalidValue` that names the nearest."""
    if isinstance(given, str) and given in choices:
        return str(given)
    near = nearest(given, choices) if isinstance(given, str) else ""
    raise InvalidValue(f"invalid {what}: {brief(given)}{near}; must be one of {', '.join(choices)}")


def _part(what: str, given: object, least: float | None = None) -> float:
    number = as_real(given)
    if number is None or not (0 < number <= 1 or number == least):
        raise InvalidValue(
            f"invalid {what}: {brief(given)}; must be a number {'from' if least == 0 else 'above'} 0 to 1"
        )
    return float(number)
