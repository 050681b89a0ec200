"""Checks of names, origins and durations that a caller passes."""

from collections.abc import Iterable
from typing import Any

from kedge.errors import InvalidValue
from kedge.model.names import NAME_BYTES_MAX, excess_of, refused_character
from kedge.model.numbers import as_real
from kedge.model.writes import Origin
from kedge.support.display import brief

SECONDS_MAX = 1e11  # three thousand years: JSON has no infinity


def check_names(what: str, names: object) -> tuple[str, ...]:
    """Return several names, or raise `InvalidValue`, also for a single string."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidValue(f"{what}={brief(names)} is not a list of names; pass one, such as ['support']")
    return tuple(check_name(f"a name in {what}", name) for name in names)


def check_name(what: str, name: object, *, empty: bool = False) -> str:
    """Return a valid name, or raise `InvalidValue`."""
    if not isinstance(name, str):
        raise InvalidValue(f"{what} must be a string, not {brief(name)} ({type(name).__name__}); convert it first")
    if name.isascii() and name.isprintable() and len(name) <= NAME_BYTES_MAX and (name or empty):
        return name
    if not name and not empty:
        raise InvalidValue(f"{what} is empty; give it at least one character")
    too_long = excess_of(name)
    if too_long is not None:
        raise InvalidValue(f"{what} {name[:40]!r}… {too_long}")
    bad = refused_character(name)
    if bad is not None:
        raise InvalidValue(
            f"{what} {name!r} holds the control character {bad!r}; remove it, or pass kedge.escape_name(…)"
        )
    return name


def is_name(name: object) -> bool:
    """Return whether this can be a name at all."""
    try:
        check_name("the name", name)
    except InvalidValue:
        return False
    return True


def check_origin(origin: str | None) -> Origin | None:
    """Return a valid origin or None, or raise `InvalidValue`."""
    if origin is None:
        return None
    if not isinstance(origin, str) or origin not in set(Origin):
        raise InvalidValue(f"origin {brief(origin)} is unknown; use 'source' or 'derived'")
    return Origin(origin)


def check_seconds(what: str, seconds: Any) -> float | None:
    """Return a positive number of seconds or None, or raise `InvalidValue`."""
    if seconds is None:
        return None
    number = as_real(seconds)
    if number is None or not 0 < number <= SECONDS_MAX:
        raise InvalidValue(f"{what}={brief(seconds)} is not a positive number of seconds; give one, or None")
    return float(number)


def check_callables(**functions: object) -> None:
    """Raise `InvalidValue` unless each of these arguments can be called."""
    for what, function in functions.items():
        if not callable(function):
            raise InvalidValue(f"invalid {what} {brief(function)} ({type(function).__name__}): must be a function")


def check_optional_callables(**functions: object) -> None:
    """Raise `InvalidValue` unless each of these arguments is None or can be called."""
    check_callables(**{what: function for what, function in functions.items() if function is not None})
