"""Evidence of a launch in the control log: what each look took in, without names, and what it decided."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.guard.engine import Look
from kedge.guard.launch_state import LaunchUnit, Outcome, State, World
from kedge.guard.release import Release
from kedge.model.declared_metrics import Verdict

BEGIN = "launch:begin"
LOOK = "launch:look"  # nothing happened: left out of listings of the log
DECISION = "launch:decision"
REQUEST = "launch:request"
FORMAT = 1
_ARMS = {"c": "canary", "b": "baseline"}
_MARKS = {True: "1", False: "0", None: "-", "absent": "."}
_VERDICTS = {mark: value for value, mark in _MARKS.items()}


def operation_of(name: str) -> str:
    """Return the operation of all log entries of a launch."""
    return f"launch:{name}"


def encode_units(units: Sequence[LaunchUnit]) -> dict[str, Any]:
    """Return units as the log keeps them: a letter for each arm, runs of equal shares, a column for each metric."""
    if not units:
        return {}
    names = sorted({name for unit in units for name in unit.verdicts})
    return {
        "arms": "".join("c" if unit.arm == "canary" else "b" for unit in units),
        "shares": _runs(unit.share for unit in units),
        "eras": _runs(unit.era for unit in units),
        "first": _runs(unit.is_first for unit in units),
        "promoted": _runs(unit.is_promoted for unit in units),
        "values": {name: _column([unit.verdicts.get(name, "absent") for unit in units]) for name in names},
    }


def decode_units(document: dict[str, Any]) -> list[LaunchUnit]:
    """Return the units of a log entry, or raise `InvalidValue`."""
    if not document:
        return []
    try:
        arms = [_ARMS[letter] for letter in document["arms"]]
        fields = [_unrun(document[key]) for key in ("shares", "eras", "first", "promoted")]
        columns = {name: _uncolumn(column) for name, column in document["values"].items()}
        rows = zip(arms, *fields, *columns.values(), strict=True)
        return [_unit(row, tuple(columns)) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"invalid evidence in the log ({error}): it was changed, or a newer Kedge wrote it"
        ) from None


def _unit(row: tuple[Any, ...], names: tuple[str, ...]) -> LaunchUnit:
    arm, share, era, is_first, is_promoted, *values = row
    verdicts = {name: value for name, value in zip(names, values, strict=True) if value != "absent"}
    return LaunchUnit(arm, share, era, verdicts, is_first, is_promoted)


def _runs(values: Iterable[Any]) -> list[list[Any]]:
    return [[value, len(list(same))] for value, same in groupby(values)]


def _unrun(runs: list[list[Any]]) -> list[Any]:
    return [value for value, count in runs for _ in range(count)]


def _column(values: list[Any]) -> str | list[Any]:
    """Return a column of verdicts: text where all are True, False or missing, else a list."""
    if all(value is True or value is False or value is None or value == "absent" for value in values):
        return "".join(_MARKS[value] for value in values)
    return ["." if value == "absent" else value for value in values]


def _uncolumn(column: str | list[Any]) -> list[Verdict | str]:
    if isinstance(column, str):
        return [_VERDICTS[mark] for mark in column]
    return ["absent" if value == "." else value for value in column]


def look_of(
    release: Release, number: int, units: Sequence[LaunchUnit], world: World, outcome: Outcome
) -> dict[str, Any]:
    """Return the log entry of a look: what it took in, and what it made of it."""
    found: dict[str, Any] = {
        "format": FORMAT,
        "look": number,
        "world": msgspec.to_builtins(world),
        "units": encode_units(units),
        **decided(release, outcome),
    }
    return found


def decided(release: Release, outcome: Outcome) -> dict[str, Any]:
    """Return what a look decided, with the numbers that it rests on; `recompute` compares it."""
    state = outcome.state
    return {
        "phase": str(state.phase),
        "stage": state.stage,
        "weight": state.weight,
        "rung": str(state.rung),
        "why": list(state.why),
        "events": list(outcome.events),
        "actions": msgspec.to_builtins(outcome.actions),
        "sessions": list(state.seen),
        "metrics": numbers(release, state),
    }


def numbers(release: Release, state: State) -> dict[str, dict[str, Any]]:
    """Return the numbers of each metric: logarithms of e-values, and the confidence sequence of the difference."""
    look = Look(release, state, World(0.0, None, 0.0))  # type: ignore[arg-type]  # only its tests are read
    found = {}
    for name, measure in look.measures.items():
        interval = measure.interval
        found[name] = {
            "log_e": measure.harm.log_e,
            "log_peak": measure.harm.evidence.log_peak,
            "margin_log_peak": measure.margin.evidence.log_peak,
            "watch_log_peak": measure.watch.evidence.log_peak,
            "coverage_log_e": measure.coverage.log_e,
            "low": interval.low,
            "high": interval.high,
            "seen": list(measure.seen),
            "missing": list(measure.missing),
        }
    return found
