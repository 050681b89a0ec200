"""Durations as text: 50ms, 90s, 15min, 2h, 30d, 4w."""

import re

from kedge.errors import InvalidValue
from kedge.model.checks import SECONDS_MAX
from kedge.model.numbers import as_real
from kedge.support.display import brief

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration such as 50ms, 90s, 15min, 2h, 30d, 4w; None if it is not one."""
    found = _SPAN.fullmatch(text.strip().lower())
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


def duration(seconds: float, units: int = 2) -> str:
    """Return a duration in its largest units: "2 d 3 h", "5 min"."""
    left = max(0.0, seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        whole = int(left // size)
        left -= whole * size
        if whole or (unit == "s" and not parts):
            parts.append(f"{whole} {unit}")
        elif parts:
            break
    return " ".join(parts[:units])


def span_of(text: str, what: str) -> float:
    """Return the seconds of a duration, or raise `InvalidValue`; `what` names it."""
    seconds = seconds_of(text)
    if seconds is None:
        raise InvalidValue(f"invalid {what} {text!r}; write a duration such as 90min, 12h, 30d or 4w")
    return seconds


def check_duration(what: str, given: object) -> float:
    """Return the seconds of a positive duration that a file gives as text or as a number, or raise `InvalidValue`."""
    seconds = seconds_of(given) if isinstance(given, str) else as_real(given)
    if seconds is None or not 0 < seconds <= SECONDS_MAX:
        raise InvalidValue(f'invalid {what} {brief(given)}: must be a duration such as "50ms", "30s" or "5min"')
    return float(seconds)
