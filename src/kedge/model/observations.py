"""Observations from outside a turn: how a record names one, and what a batch of them led to."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.checks import SECONDS_MAX, check_name
from kedge.model.declared_metrics import FUTURE, STALE, DeclaredMetric, check_metric_name
from kedge.model.numbers import as_plain, as_real
from kedge.model.writes import encode
from kedge.support.display import Report, Value, brief, count

FUTURE_SECONDS = 60.0  # how far a judge's clock may be ahead
REFUSALS_SHOWN = 20


class Observation(Value, frozen=True):
    """A value of a metric in a session. `at`: when it was observed, in seconds since the Unix epoch; None: now."""

    session: str
    metric: str
    value: Any
    at: float | None = None
    agent: str | None = None
    idempotency: str | None = None

    @classmethod
    def of(
        cls, session: Any, metric: Any, value: Any, at: Any = None, agent: Any = None, idempotency: Any = None
    ) -> Self:
        """Return a checked observation, or raise `InvalidValue`."""
        return cls(
            check_name("the session", session),
            check_metric_name(metric),
            as_plain(value),
            None if at is None else moment_of(at),
            None if agent is None else check_name("the agent", agent),
            None if idempotency is None else check_name("the idempotency key", idempotency),
        )

    @classmethod
    def read(cls, record: Any) -> Self:
        """Return the observation of a record, such as a line of a file, or raise `InvalidValue`."""
        if not isinstance(record, Mapping):
            raise InvalidValue(
                f"{brief(record)} is no record; write an object: "
                '{"session": "s-17", "metric": "resolved", "value": true, "at": 1767225600}'
            )
        known = cls.__struct_fields__
        for key in record:
            if key not in known:
                raise InvalidValue(f"unknown key {brief(key)}{nearest(key, known)}; keys: {', '.join(known)}")
        for key in ("session", "metric", "value"):
            if key not in record:
                raise InvalidValue(f"the key {key!r} is missing; give session, metric and value")
        return cls.of(**record)


class Refusal(Value, frozen=True):
    """An observation that was not stored: its place in the input, from 1 on, and why."""

    line: int
    why: str


class ObserveReport(Report, frozen=True):
    """What became of many observations.

    `repeated`: an earlier call had stored them. `purged`: what they rest on was purged. `refusals`: the first 20 of
    those refused.
    """

    stored: int = 0
    repeated: int = 0
    purged: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        """Return the verdict."""
        return (
            f"{count(self.stored, 'observation')} stored, {self.repeated:,} stored before, {self.purged:,} of purged "
            f"deployments left out, {self.refused:,} refused"
        )

    def __add__(self, other: "ObserveReport") -> "ObserveReport":
        """Return the report of both."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__[:-1]}
        return ObserveReport(**counts, refusals=(self.refusals + other.refusals)[:REFUSALS_SHOWN])


class Lines:
    """Reader of records and of lines of JSON. Equal lines of one input are told apart by how many came before."""

    def __init__(self) -> None:
        self._once = set[int]()
        self._more = Counter[int]()

    def read(self, record: Any) -> Observation:
        """Return the observation of a record or line, or raise `InvalidValue`."""
        if isinstance(record, Observation):
            return record
        if not isinstance(record, str | bytes):
            return Observation.read(record)
        try:
            parsed = msgspec.json.decode(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = record if isinstance(record, str) else record.decode(errors="replace")
            raise InvalidValue(f"{brief(text.strip())} is not JSON ({error}); write one object a line") from None
        found = Observation.read(parsed)
        if found.idempotency is not None:
            return found
        canonical = json.dumps(parsed, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
        digest = hashlib.sha256(canonical).digest()
        short = int.from_bytes(digest[:8])
        earlier = self._more[short] if short in self._more else int(short in self._once)
        if earlier:
            self._more[short] = earlier + 1
        self._once.add(short)
        return msgspec.structs.replace(found, idempotency=f"line:{digest.hex()}:{earlier}")


def moment_of(at: Any) -> float:
    """Return seconds since the Unix epoch: of a number, a datetime with a time zone, or its text; or raise."""
    given = at
    if isinstance(at, str):
        try:
            parsed = datetime.fromisoformat(at)
        except ValueError:
            parsed = None
        at = parsed if parsed is None or parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    if isinstance(at, datetime) and at.tzinfo is not None:
        return at.timestamp()
    seconds = as_real(at)
    if seconds is None or not 0 <= seconds <= SECONDS_MAX:
        raise InvalidValue(
            f"invalid at {brief(given)}: must be seconds since 1970, a datetime with a time zone, or text such as "
            "2026-03-03T09:00:00Z"
        )
    return float(seconds)


def check_free(metric: str, value: Any) -> Any:
    """Return the plain value of an undeclared metric, or raise `InvalidValue`."""
    plain = as_plain(value)
    if not isinstance(plain, bool | int | float | str):
        raise InvalidValue(f"invalid sample {brief(value)} of metric {metric!r}: must be a number, bool or string")
    encode(plain, f"the sample of {metric!r}")
    return plain


def plain_value(metric: DeclaredMetric, value: Any) -> Any:
    """Return an accepted value of a declared metric as JSON stores it."""
    if metric.kind == "ratio":
        return [as_real(each) for each in value]
    return as_plain(value)


def refusal_in_time(metric: DeclaredMetric | None, at: float, now: float) -> str | None:
    """Return why the time of an observation that arrives now is refused, "future" or "stale"; None: it is not."""
    if at > now + FUTURE_SECONDS:
        return FUTURE
    is_stale = metric is not None and metric.fresh is not None and now - at > metric.fresh
    return STALE if is_stale else None


def refused(observation: Observation, metric: DeclaredMetric | None, why: str) -> InvalidValue:
    """Return the error for an observation that is refused at the door."""
    name = observation.metric
    if why == FUTURE:
        text = f"invalid at {observation.at} of metric {name!r}: it is in the future; check the clock of the sender"
    elif why == STALE and metric is not None:
        text = f"the observation of metric {name!r} arrives more than {metric.fresh:g} s after it was made: it is stale"
        text += "; send it sooner, or raise fresh"
    else:
        must_be = "" if metric is None else metric.must_be
        text = f"invalid value {brief(observation.value)} of metric {name!r} ({why}): {must_be}"
    return InvalidValue(text)


__all__ = [
    "REFUSALS_SHOWN",
    "Lines",
    "Observation",
    "ObserveReport",
    "Refusal",
    "check_free",
    "moment_of",
    "plain_value",
    "refusal_in_time",
    "refused",
]
