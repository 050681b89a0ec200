"""Payload filters of a vector search: equality, `in`, ranges, `and`, `or`."""

import operator
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

from kedge.errors import InvalidValue
from kedge.model.checks import check_name

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPERATORS = (*_COMPARE, "in")
_SCALARS = frozenset({str, int, float, bool, type(None)})


def check_filter(where: object) -> None:
    """Raise `InvalidValue` unless this is a filter that `matches` can decide."""
    if not isinstance(where, Mapping):
        raise InvalidValue(f"where must be a mapping of fields to conditions, not {where!r:.80}")
    for field, condition in where.items():
        if not isinstance(field, str):
            raise InvalidValue(f"where names the field {field!r}; fields are strings")
        if field in {"and", "or"}:
            if not isinstance(condition, list | tuple) or not condition:
                raise InvalidValue(f"where[{field!r}] must be a list of filters, not {condition!r:.80}")
            for part in condition:
                check_filter(part)
        elif isinstance(condition, Mapping):
            _check_condition(field, condition)


def _check_condition(field: str, condition: Mapping[str, Any]) -> None:
    if not condition:
        raise InvalidValue(f"where[{field!r}] has no operator; use one of {', '.join(_OPERATORS)}")
    for name, operand in condition.items():
        if name not in _OPERATORS:
            raise InvalidValue(
                f"where[{field!r}] has the unknown operator {name!r}; use one of {', '.join(_OPERATORS)}"
            )
        if name == "in" and not isinstance(operand, list | tuple | set | frozenset):
            raise InvalidValue(f"where[{field!r}]['in'] must be a list, not {operand!r:.80}")


def check_fields(fields: object) -> None:
    """Raise `InvalidValue` unless these are fields that a collection can declare for its filters."""
    if not isinstance(fields, list | tuple):
        raise InvalidValue(f"fields must be a list of payload fields, not {fields!r:.80}; write fields=[…]")
    for field in fields:
        if check_name("a field", field) in {"and", "or"}:
            raise InvalidValue(f"{field!r} cannot be declared as a field: it is an operator of filters")


def matches(payload: Any, where: Mapping[str, Any]) -> bool:
    """Return whether a payload matches a filter; a missing or incomparable field does not."""
    fields = payload if isinstance(payload, dict) else {}
    return all(_holds(fields, payload, field, condition) for field, condition in where.items())


def _holds(fields: Mapping[str, Any], payload: Any, field: str, condition: Any) -> bool:
    if field == "and":
        return all(matches(payload, part) for part in condition)
    if field == "or":
        return any(matches(payload, part) for part in condition)
    return field in fields and holds(fields[field], condition)


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
