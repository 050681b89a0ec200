"""Findings: whether Kedge reached its targets, and where other stores are better."""

from collections.abc import Callable, Iterable

import msgspec

from bench.peers.columns import (
    LOADING,
    SEARCHING,
    Column,
    call_seconds,
    load_rate,
    number,
    p50,
    ratio,
    recall,
    rollback_seconds,
    seconds,
    view_ratio,
)
from bench.peers.document import Document
from bench.peers.outcome import Outcome

KEDGE = "kedge"
_RAW, _NUMPY = "faiss", "numpy"
_NOT_STORES = (_RAW, _NUMPY)  # nothing that they write survives by itself
_RECALL_ALIKE = 0.01
_UNTIL = {"call": call_seconds, "reads": rollback_seconds}


class Target(msgspec.Struct, frozen=True):
    """A target, the measured value, and whether it is met (None: not measured)."""

    what: str
    measured: str
    met: bool | None


def targets(document: Document) -> list[Target]:
    """Return the targets of the sizes that were measured."""
    found: list[Target] = []
    for stage in document.stages():
        ours = document.of(stage, KEDGE)
        if ours is not None:
            found += _targets_on(document, stage, ours)
    found += _constant_cost(document)
    return found


def _targets_on(document: Document, stage: str, ours: Outcome) -> Iterable[Target]:
    raw = document.of(stage, _RAW)
    large = ours.rows >= 100_000
    if large and raw is not None:
        times = ratio(p50(ours.plain), p50(raw.plain))
        detail = f"recall {recall(ours.plain)} and {recall(raw.plain)}"
        yield _at_most(f"{stage}: p50 over raw faiss, equal recall", times, 1.5, "×", detail)
    yield _at_most(f"{stage}: view on/off", view_ratio(ours), 1.1, "×")
    for what, timing, floor in (
        ("recall@10", ours.plain, 0.98), ("recall@10, flood", ours.flood, 0.95),
        ("recall@10, view of 5 %", ours.few, 0.98),
    ):  # fmt: skip
        yield _at_least(f"{stage}: {what}", None if timing is None else timing.recall, floor)
    if large:
        yield _at_least(f"{stage}: bulk load, rows/s", load_rate(ours), 50_000)
        yield _at_most(f"{stage}: own memory, B/row", ratio(ours.memory_own, ours.rows), 600)
        factor = 200 if ours.rows >= 1_000_000 else 20
        for until, taken in _UNTIL.items():
            best = _fastest(document, stage, taken)
            times = None if best is None else ratio(taken(best), taken(ours))
            detail = "" if best is None else best.title
            yield _at_least(f"{stage}: rollback speed-up, {until}", times, factor, "×", detail)
    if ours.rows >= 1_000_000:
        yield _at_most(f"{stage}: open and answer, s", ours.opened, 0.3)


def _fastest(document: Document, stage: str, seconds_of: Callable[[Outcome], float | None]) -> Outcome | None:
    """Return the store that took least, of those that were right and lost nothing."""
    right = [
        (taken, one.peer, one)
        for one in document.on(stage)
        if one.peer not in (KEDGE, *_NOT_STORES) and one.undone is not None
        and not one.undone.wrong and one.undone.survived == 1 and (taken := seconds_of(one)) is not None
    ]  # fmt: skip
    return min(right)[2] if right else None


def _constant_cost(document: Document) -> Iterable[Target]:
    ours = [one for one in document.outcomes if one.peer == KEDGE and one.stage.startswith("clustered")]
    for until, taken in _UNTIL.items():
        timed = [(one.stage, found) for one in ours if (found := taken(one)) is not None]
        if len(timed) > 1:
            first, last = timed[0], timed[-1]
            yield _at_most(
                f"rollback, {last[0]} over {first[0]}, {until}", last[1] / first[1], 1.5, "×",
                f"{seconds(last[1])} and {seconds(first[1])}",
            )  # fmt: skip


def _at_most(what: str, value: float | None, most: float, unit: str = "", detail: str = "") -> Target:
    measured = number(value, unit) + (f" ({detail})" if detail and value is not None else "")
    return Target(f"{what} ≤ {most:g}{unit}", measured, None if value is None else value <= most)


def _at_least(what: str, value: float | None, least: float, unit: str = "", detail: str = "") -> Target:
    measured = number(value, unit) + (f" ({detail})" if detail and value is not None else "")
    return Target(f"{what} ≥ {least:,g}{unit}", measured, None if value is None else value >= least)


def met(target: Target) -> str:
    """Say whether it is met."""
    return "not measured" if target.met is None else "yes" if target.met else "NO"


def wins(document: Document) -> list[str]:
    """Return a sentence for everything that another does better than Kedge, by stage: faster at no less recall."""
    found = []
    for stage in document.stages():
        ours = document.of(stage, KEDGE)
        if ours is None:
            continue
        for column in (*SEARCHING, *LOADING):
            better = _better(column, ours, document.on(stage))
            if better:
                found.append(f"{stage}, {column.what}: {', '.join(better)}; Kedge {column.cell(ours)}.")
    return found


def _better(column: Column, ours: Outcome, outcomes: Iterable[Outcome]) -> list[str]:
    mine = column.value(ours) if column.value is not None else None
    if column.value is None or mine is None:
        return []
    sign = 1 if column.is_less_better else -1
    found_by_us = _found(column, ours)
    ranked = sorted(
        (sign * value, one.title, column.cell(one))
        for one in outcomes
        if one.peer != KEDGE and (value := column.value(one)) is not None and sign * value < sign * mine
        and _found(column, one) >= found_by_us - _RECALL_ALIKE
    )  # fmt: skip
    return [f"{title} {cell}" for _, title, cell in ranked]


def _found(column: Column, one: Outcome) -> float:
    timing = None if column.timing is None else column.timing(one)
    return 1.0 if timing is None or timing.recall is None else timing.recall
