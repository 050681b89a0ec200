"""Readiness for a rollback: the score of a store, and a prediction of how long a rollback takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal

from kedge.support.display import Value

TESTED_SECONDS = 90 * 86_400.0  # a test of a way back counts for a quarter
HALF_TESTED_SECONDS = 365 * 86_400.0


class WayBack(StrEnum):
    """The finest way in which a store can be taken back, the best first.

    `deployment`: what one deployment caused, and nothing else. All others go back to a point in time, and lose what
    others wrote since: `fork` a writable copy at once, `history` old values kept but put back by no call, `pitr` any
    moment, `snapshot` a named point, `backup` an online copy restored elsewhere, `copy` stop and copy files.
    `rebuild`: from its sources only, or empty after a restart.
    """

    DEPLOYMENT = "deployment"
    FORK = "fork"
    HISTORY = "history"
    PITR = "pitr"
    SNAPSHOT = "snapshot"
    BACKUP = "backup"
    COPY = "copy"
    REBUILD = "rebuild"
    NONE = "none"
    UNKNOWN = "unknown"


POINTS: dict[WayBack, int] = {
    WayBack.DEPLOYMENT: 40, WayBack.FORK: 28, WayBack.HISTORY: 12, WayBack.PITR: 24, WayBack.SNAPSHOT: 20,
    WayBack.BACKUP: 16, WayBack.COPY: 8, WayBack.REBUILD: 4, WayBack.NONE: 0, WayBack.UNKNOWN: 0,
}  # fmt: skip
"""Points for the way back, of 40."""

VERSIONED = frozenset({WayBack.DEPLOYMENT, WayBack.FORK, WayBack.HISTORY, WayBack.PITR, WayBack.SNAPSHOT})
"""The ways back for which the store itself keeps earlier states."""


class Span(Value, frozen=True):
    """Seconds: fast, likely and worst. Infinite: it does not end."""

    fast: float
    likely: float
    worst: float

    def __add__(self, other: Span) -> Span:
        """Return the span of one after the other."""
        return Span(self.fast + other.fast, self.likely + other.likely, self.worst + other.worst)


NOTHING = Span(0.0, 0.0, 0.0)
NEVER = Span(math.inf, math.inf, math.inf)


def longest(spans: Iterable[Span]) -> Span:
    """Return the span of several at once, each bound by itself; `NOTHING` without any."""
    found = list(spans)
    if not found:
        return NOTHING
    return Span(max(s.fast for s in found), max(s.likely for s in found), max(s.worst for s in found))


class Rates(Value, frozen=True):
    """What a restoration costs.

    `provision` and `repoint`: seconds, to make room and to point readers at the result. Rates: bytes and rows a second.
    """

    provision: Span
    bytes_per_second: Span
    rows_per_second: Span | None = None  # None: no index is built
    repoint: Span = NOTHING


def restore_span(rates: Rates, size_bytes: float, rows: float) -> Span:
    """Return provision + bytes ÷ restore rate + rows ÷ index rate + repoint, in seconds."""
    transfer = _quotient(size_bytes, rates.bytes_per_second)
    index = NOTHING if rates.rows_per_second is None else _quotient(rows, rates.rows_per_second)
    return rates.provision + transfer + index + rates.repoint


def _quotient(amount: float, rate: Span) -> Span:
    return Span(*(amount / each if each > 0 else math.inf for each in (rate.fast, rate.likely, rate.worst)))


class Prediction(Value, frozen=True):
    """How long a rollback takes: detection, the stores, a restart, the agreement of all agents.

    `dominating`: the slowest store.
    """

    detect: Span
    stores: dict[str, Span]
    restart: Span
    agree: Span
    total: Span
    dominating: str | None


def predict(detect: Span, stores: Mapping[str, Span], restart: Span, agree: Span) -> Prediction:
    """Return T = detect + slowest store + restart + agreement. Stores are restored side by side."""
    dominating = max(sorted(stores), key=lambda name: (stores[name].likely, stores[name].worst), default=None)
    total = detect + longest(stores.values()) + restart + agree
    return Prediction(detect, dict(stores), restart, agree, total, dominating)


class Fix(Value, frozen=True):
    """The smallest change that gains points: what to do, where (path:line, or empty), and the points."""

    what: str
    where: str
    points: int


Known = Literal["yes", "no", "unknown"]


class StoreReadiness(Value, frozen=True):
    """Whether a store can be taken back.

    `unit`: what goes back at once. `lost`: what is lost besides, in words. `versioned`: whether the store keeps
    earlier states. `isolated`: whether a deployment writes apart from the others. `rebuilt_from`: the source of a
    rebuild, or empty. `tested_at`: when a way back was last tried, in seconds since 1970, null where none is known.
    `span`: the restoration. `conditions`: what must hold for it. `assumed`: which inputs of the prediction were
    assumed. `score`: of 100. `writers`: who writes it, as far as code and traces show.
    """

    store: str
    kind: str
    way: WayBack
    unit: str
    lost: str
    versioned: Known
    isolated: Known
    span: Span | None
    score: int
    rebuilt_from: str = ""
    tested_at: float | None = None
    conditions: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    lost_writes: float | None = None
    fixes: tuple[Fix, ...] = ()
    writers: tuple[str, ...] = ()


class Scored(Value, frozen=True):
    """The parts of a score: way back of 40, versioned of 20, isolated of 15, in time of 15, tested of 10."""

    way: int
    versioned: int
    isolated: int
    in_time: int
    tested: int

    @property
    def total(self) -> int:
        """Their sum, of 100."""
        return self.way + self.versioned + self.isolated + self.in_time + self.tested


def score(
    way: WayBack,
    *,
    isolated: Known,
    span: Span | None,
    within: float,
    tested_at: float | None,
    now: float,
    certain: bool = True,
) -> Scored:
    """Return the score of a store.

    `within`: the seconds that a restoration may take. `now`: seconds since 1970. `certain`: whether what the way back
    needs is known to be switched on: else it counts half, and no earlier state counts as kept.
    """
    if span is None or way in {WayBack.NONE, WayBack.UNKNOWN} or span.likely > within:
        in_time = 0
    else:
        in_time = 15 if span.worst <= within else 8
    age = math.inf if tested_at is None else now - tested_at
    return Scored(
        way=POINTS[way] if certain else POINTS[way] // 2,
        versioned=20 if way in VERSIONED and certain else 0,
        isolated=15 if isolated == "yes" else 0,
        in_time=in_time,
        tested=10 if age <= TESTED_SECONDS else 5 if age <= HALF_TESTED_SECONDS else 0,
    )


def overall(scores: Iterable[int]) -> int | None:
    """Return the mean of the mean score and the worst one: one bad store must show. None without any store."""
    found = list(scores)
    return round((sum(found) / len(found) + min(found)) / 2) if found else None


__all__ = [
    "NEVER", "NOTHING", "POINTS", "TESTED_SECONDS", "VERSIONED", "Fix", "Known", "Prediction", "Rates", "Scored",
    "Span", "StoreReadiness", "WayBack", "longest", "overall", "predict", "restore_span", "score",
]  # fmt: skip
