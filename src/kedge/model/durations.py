"""Durations as text: 90s, 15min, 2h, 30d, 4w."""

import re
from typing import Any

from kedge.errors import InvalidValue
from kedge.model.checks import SECONDS_MAX
from kedge.model.numbers import as_real
from kedge.support.display import brief

_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration such as 90s, 15min, 2h, 30d, 4w; None if it is not one."""
    found = _SPAN.fullmatch(text.strip().lower())
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


def check_duration(what: str, given: Any) -> float:
    """Return the seconds of a positive number or of a text such as "2h", or raise `InvalidValue`."""
    seconds = seconds_of(given) if isinstance(given, str) else as_real(given)
    if seconds is None or not 0 < seconds <= SECONDS_MAX:
        raise InvalidValue(
            f'invalid {what} {brief(given)}: must be a positive number of seconds, or a duration such as "90s" or "2h"'
        )
    return float(seconds)
