"""Numbers that callers pass: Python's, and the scalars of numpy."""

from typing import Any

import numpy as np

from kedge.errors import InvalidValue
from kedge.support.display import brief


def as_plain(value: Any) -> Any:
    """Return the Python value of a numpy bool, number or string; return anything else as it is."""
    if not isinstance(value, np.generic):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if np.issubdtype(value.dtype, np.timedelta64):  # numpy counts durations among the integers
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    return str(value) if isinstance(value, np.str_) else value


def as_integer(what: str, value: Any, must_be: str, *, least: int, most: int | None = None) -> int:
    """Return an integer of Python or numpy within bounds, or raise `InvalidValue`; `must_be` completes its message."""
    number = as_plain(value)
    is_integer = isinstance(number, int) and not isinstance(number, bool)
    if not is_integer or number < least or (most is not None and number > most):
        raise InvalidValue(f"invalid {what} {brief(value, 80)}: must be {must_be}")
    return int(number)


def as_real(value: Any) -> float | None:
    """Return an integer or float of Python or numpy, or None for anything else."""
    number = as_plain(value)
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None
