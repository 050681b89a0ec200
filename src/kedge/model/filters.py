"""Payload filters of a vector search: equality, `in`, ranges, `and`, `or`, and paths to nested fields."""

import math
import operator
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

from kedge.errors import InvalidValue
from kedge.model.checks import check_name
from kedge.model.numbers import as_plain
from kedge.model.writes import check_depth, decode, encode

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPERATORS = (*_COMPARE, "in")
_RANGES = frozenset({"gt", "gte", "lt", "lte"})
_SCALARS = frozenset({str, int, float, bool, type(None)})
_HELD = (str, int, float, list, tuple, dict)
ABSENT = object()  # in place of the value of a field that a payload lacks


def check_filter(where: object) -> dict[str, Any]:
    """Return a filter with its values as payloads hold them; raise `InvalidValue` if `matches` cannot decide it."""
    check_depth(where, "where")
    return _checked_filter(where)


def _checked_filter(where: object) -> dict[str, Any]:
    if not isinstance(where, Mapping):
        raise InvalidValue(f"where must be a mapping of fields to conditions, not {where!r:.80}")
    checked: dict[str, Any] = {}
    for field, condition in where.items():
        if not isinstance(field, str):
            raise InvalidValue(f"where names the field {field!r}; fields are strings")
        if field in {"and", "or"}:
            if not isinstance(condition, list | tuple) or not condition:
                raise InvalidValue(f"where[{field!r}] must be a list of filters, not {condition!r:.80}")
            checked[field] = [_checked_filter(part) for part in condition]
        elif isinstance(condition, Mapping):
            checked[field] = _checked_condition(field, condition)
        else:
            checked[field] = _as_payload_value(f"where[{field!r}]", condition)
    return checked


def _checked_condition(field: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    if not condition:
        raise InvalidValue(f"where[{field!r}] has no operator; use one of {', '.join(_OPERATORS)}")
    checked: dict[str, Any] = {}
    for name, operand in condition.items():
        path = f"where[{field!r}][{name!r}]"
        if name not in _OPERATORS:
            raise InvalidValue(
                f"where[{field!r}] has the unknown operator {name!r}; use one of {', '.join(_OPERATORS)}, or write "
                f"{f'{field}.{name}'!r} for a field inside {field!r}"
            )
        if name == "in":
            if not isinstance(operand, list | tuple | set | frozenset):
                raise InvalidValue(f"{path} must be a list, not {operand!r:.80}")
            checked[name] = [_as_payload_value(f"a value in {path}", value) for value in operand]
        elif name in _RANGES and isinstance(operand, float) and math.isinf(operand):
            checked[name] = float(operand)  # an open end of a range
        else:
            checked[name] = _as_payload_value(path, operand)
    return checked


def _as_payload_value(path: str, operand: Any) -> Any:
    """Return a value as a payload would hold it, or raise `InvalidValue` where none could."""
    value = as_plain(operand)
    if value is not None and not isinstance(value, _HELD):
        raise InvalidValue(
            f"{path} is {operand!r:.80} of type {type(operand).__name__}, which no payload holds; "
            "compare with what the payloads hold, such as a number or an ISO 8601 string for a time"
        )
    return decode(encode(value, path))


def check_fields(fields: object) -> None:
    """Raise `InvalidValue` unless these are fields that a collection can declare for its filters."""
    if not isinstance(fields, list | tuple):
        raise InvalidValue(f"fields must be a list of payload fields, not {fields!r:.80}; write fields=[…]")
    for field in fields:
        if check_name("a field", field) in {"and", "or"}:
            raise InvalidValue(f"{field!r} cannot be declared as a field: it is an operator of filters")


def matches(payload: Any, where: Mapping[str, Any]) -> bool:
    """Return whether a payload matches a filter; a missing or incomparable field does not."""
    return all(_holds(payload, field, condition) for field, condition in where.items())


def value_at(payload: Any, field: str) -> Any:
    """Return the value of a payload's field, or `ABSENT`.

    A dot in the name leads into an object: `meta.lang` is `payload["meta"]["lang"]`, unless the payload has a key
    `meta.lang` itself, which wins. The same holds for the rest of the name in each object.
    """
    while isinstance(payload, dict):
        if field in payload:
            return payload[field]
        first, dot, field = field.partition(".")
        payload = payload.get(first, ABSENT) if dot else ABSENT
    return ABSENT


def _holds(payload: Any, field: str, condition: Any) -> bool:
    if field == "and":
        return all(matches(payload, part) for part in condition)
    if field == "or":
        return any(matches(payload, part) for part in condition)
    value = value_at(payload, field)
    return value is not ABSENT and holds(value, condition)


def holds(value: Any, condition: Any) -> bool:
    """Return whether the value of a present field meets a condition."""
    if not isinstance(condition, Mapping):
        return bool(value == condition)
    return all(_compare(name, value, operand) for name, operand in condition.items())


def wanted_scalars(condition: Any) -> list[Any] | None:
    """Return what a value must equal one of, where a condition asks no more than that of strings, numbers and the like.

    Equal ones of these meet the same conditions, whatever their types: True as 1 and 1.0.
    """
    if isinstance(condition, Mapping):
        if len(condition) != 1 or not condition.keys() <= {"eq", "in"}:
            return None
        wanted = list(condition["in"]) if "in" in condition else [condition["eq"]]
    else:
        wanted = [condition]
    return wanted if all(is_scalar(value) for value in wanted) else None


def is_scalar(value: object) -> bool:
    """Return whether a JSON value is a scalar."""
    return type(value) in _SCALARS


def _compare(name: str, value: Any, operand: Any) -> bool:
    if name == "in":
        return any(value == candidate for candidate in operand)
    try:
        return bool(_COMPARE[name](value, operand))
    except TypeError:
        return False


def decided_by(where: Mapping[str, Any], fields: Collection[str]) -> tuple[dict[str, Any], bool]:
    """Return what these fields alone decide of a filter, and whether that is all of it.

    Whatever passes the filter passes what is returned; `{}` says nothing.
    """
    decided: dict[str, Any] = {}
    is_all = True
    for field, condition in where.items():
        if field in {"and", "or"}:
            parts = [decided_by(part, fields) for part in condition]
            telling = [part for part, _ in parts if part]
            if telling and (field == "and" or len(telling) == len(parts)):  # an `or` with all else says nothing
                decided[field] = telling
            is_all &= all(whole for _, whole in parts)
        elif field in fields:
            decided[field] = condition
        else:
            is_all = False
    return decided, is_all


def cache_key(where: Any) -> Hashable:
    """Return what is equal only for filters that pass the same; raise `TypeError` where values cannot be compared so.

    The types of what holds others belong to it: a tuple equals no list.
    """
    if isinstance(where, Mapping):
        return type(where), tuple((name, cache_key(value)) for name, value in where.items())
    if isinstance(where, list | tuple):
        return type(where), tuple(map(cache_key, where))
    if isinstance(where, set | frozenset):
        return type(where), frozenset(map(cache_key, where))
    if is_scalar(where):
        scalar: Hashable = where  # True and 1 are one key: they compare alike
        return scalar
    raise TypeError(f"{where!r:.80} of type {type(where).__name__} is not a JSON value")
