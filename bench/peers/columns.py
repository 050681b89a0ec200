"""Columns of the tables: what they show of an outcome, and how stores are ranked by it."""

from collections.abc import Callable
from statistics import median

import msgspec

from bench.peers.outcome import Outcome, Timing

NOTHING = "–"
_MS, _MB = 1e3, 1e6


class Column(msgspec.Struct, frozen=True):
    """One column: how a cell is written, and, where peers can be ranked by it, the number that it shows."""

    name: str
    cell: Callable[[Outcome], str]
    value: Callable[[Outcome], float | None] | None = None
    is_less_better: bool = True
    what: str = ""
    timing: Callable[[Outcome], Timing | None] | None = None
    """The searches that it is about: who finds less than Kedge there does not win by being quicker."""


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Write a number with so many digits that count."""
    if value is None:
        return NOTHING
    if value == 0:
        return f"0{unit}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}{unit}"
    return f"{float(f'{value:.{digits}g}'):g}{unit}"


def seconds(value: float | None) -> str:
    """Write a time in a unit that suits it."""
    if value is None:
        return NOTHING
    return number(value, " s") if value >= 1 else number(value * _MS, " ms")


def p50(timing: Timing | None) -> float | None:
    """Return the median, if there is one."""
    return None if timing is None else timing.p50


def recall(timing: Timing | None) -> str:
    """Write the recall."""
    return NOTHING if timing is None or timing.recall is None else f"{timing.recall:.3f}"


def ratio(a: float | None, b: float | None) -> float | None:
    """Return how many times the one is the other."""
    return None if a is None or not b else a / b


def both(timing: Timing | None) -> str:
    """Write median and recall."""
    return NOTHING if timing is None else f"{number(timing.p50 * _MS)} ms · {recall(timing)}"


def load_rate(one: Outcome) -> float | None:
    """Return rows a second."""
    return ratio(one.rows, one.load)


def view_ratio(one: Outcome) -> float | None:
    """Return how many times as long a search takes through a view."""
    return ratio(p50(one.view_on), p50(one.view_off))


def overwrite_rate(one: Outcome) -> float | None:
    return ratio(one.rows // 20, one.overwrite)


def slower(one: Outcome) -> float | None:
    return ratio(p50(one.superseded), p50(one.plain))


def rollback_seconds(one: Outcome) -> float | None:
    """Return seconds from the call to right reads: the median where it was done again, else the one time."""
    if one.undone is None:
        return None
    return median([one.undone.right, *one.undone_again])


def call_seconds(one: Outcome) -> float | None:
    """Return seconds until the call to roll back returned, before anybody had read."""
    if one.undone is None:
        return None
    return median([one.undone.returned, *one.calls_again])


LOADING = (
    Column("bulk load, rows/s", lambda o: number(load_rate(o)), load_rate, is_less_better=False, what="bulk load"),
    Column("index build", lambda o: seconds(o.build)),
    Column("open", lambda o: seconds(o.opened), lambda o: o.opened, what="open"),
    Column("disk, B/row", lambda o: number(ratio(o.disk, o.rows)), lambda o: ratio(o.disk, o.rows), what="disk"),
    Column("own memory, B/row", lambda o: number(ratio(o.memory_own, o.rows)),
           lambda o: ratio(o.memory_own, o.rows), what="own memory"),
    Column("mapped files, MB", lambda o: number(ratio(o.memory_mapped, _MB))),
    Column("one write", lambda o: seconds(p50(o.single)), lambda o: p50(o.single), what="one write"),
    Column("overwrite of 5 %, rows/s", lambda o: number(overwrite_rate(o)), overwrite_rate, is_less_better=False,
           what="overwrite of 5 %"),
    Column("search after overwrite", lambda o: number(slower(o), "×")),
)  # fmt: skip

SEARCHING = (
    Column("p50", lambda o: seconds(p50(o.plain)), lambda o: p50(o.plain), what="median search",
           timing=lambda o: o.plain),
    Column("p99", lambda o: seconds(None if o.plain is None else o.plain.p99),
           lambda o: None if o.plain is None else o.plain.p99, what="search, 99th percentile",
           timing=lambda o: o.plain),
    Column("recall@10", lambda o: recall(o.plain)),
    Column("view on/off", lambda o: number(view_ratio(o), "×"), view_ratio, what="view on/off",
           timing=lambda o: o.view_on),
    Column("view of 5 %", lambda o: both(o.few), lambda o: p50(o.few), what="view of 5 %", timing=lambda o: o.few),
    Column("view of 0.1 %", lambda o: both(o.tiny), lambda o: p50(o.tiny), what="view of 0.1 %",
           timing=lambda o: o.tiny),
    Column("flood, hidden by view", lambda o: both(o.flood_filtered)),
    Column("flood, rolled back", lambda o: both(o.flood), lambda o: p50(o.flood), what="flood, rolled back",
           timing=lambda o: o.flood),
)  # fmt: skip
