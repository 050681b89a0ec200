"""Payload filters of a vector search: equality, `in`, ranges, `and`, `or`."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from kedge.errors import InvalidValue

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPERATORS = (*_COMPARE, "in")


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


def matches(payload: Any, where: Mapping[str, Any]) -> bool:
    """Say whether a payload passes a filter; a field that is missing, or not comparable, does not."""
    fields = payload if isinstance(payload, dict) else {}
    return all(_holds(fields, payload, field, condition) for field, condition in where.items())


def _holds(fields: Mapping[str, Any], payload: Any, field: str, condition: Any) -> bool:
    if field == "and":
        return all(matches(payload, part) for part in condition)
    if field == "or":
        return any(matches(payload, part) for part in condition)
    if field not in fields:
        return False
    value = fields[field]
    if not isinstance(condition, Mapping):
        return bool(value == condition)
    return all(_compare(name, value, operand) for name, operand in condition.items())


def _compare(name: str, value: Any, operand: Any) -> bool:
    if name == "in":
        return any(value == candidate for candidate in operand)
    try:
        return bool(_COMPARE[name](value, operand))
    except TypeError:
        return False
