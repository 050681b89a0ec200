"""Names of items in a LangGraph store, matches of namespaces, and filters of values: pure functions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import kedge

Namespace = tuple[str, ...]


_ITEM, _AFTER_ITEMS = "!", '"'  # begins the key in a name, and no label; the next character
_END, _AFTER_END = "/", "0"  # of a label; the next character


def _part(text: str) -> str:
    return kedge.escape_name(text.replace("%", "%25").replace("/", "%2F"))


def _label(text: str) -> str:
    part = _part(text)
    return f"%21{part[1:]}" if part.startswith(_ITEM) else part


def _text(part: str) -> str:
    return kedge.unescape_name(part).replace("%2F", "/").replace("%21", _ITEM).replace("%25", "%")


def item_name(namespace: Iterable[str], key: str) -> str:
    """Return the name of an item: its labels and its key, of any text.

    The items of a namespace lie together, before those of the namespaces below it.
    """
    return f"{prefix_of(namespace)}{_ITEM}{_part(key)}"


def prefix_of(namespace: Iterable[str]) -> str:
    """Return what the names of all items in and below a namespace begin with."""
    return "".join(f"{_label(label)}{_END}" for label in namespace)


def namespace_and_key(name: str) -> tuple[Namespace, str]:
    """Return the namespace and the key that a name stands for."""
    *labels, key = name.split(_END)
    return tuple(map(_text, labels)), _text(key[1:])


def after_namespace(name: str, depth: int | None = None) -> str:
    """Return what comes after all items of the namespace that an item is in, by its name, and before those below it.

    With `depth`, what comes after all namespaces that begin with the same labels, as many as that.
    """
    *labels, _ = name.split(_END)
    if depth is not None and len(labels) >= depth:
        return f"{_END.join(labels[:depth])}{_AFTER_END}"
    return f"{_END.join([*labels, _AFTER_ITEMS])}"


# ── namespaces ──


def namespaces_of(op: Any) -> list[Any]:
    """Return the namespaces that an operation names: its own, its prefix, or the paths of its conditions."""
    if hasattr(op, "match_conditions"):
        return [condition.path for condition in op.match_conditions or ()]
    return [op.namespace_prefix if hasattr(op, "namespace_prefix") else op.namespace]


def fixed_prefix(conditions: Sequence[Any]) -> Namespace:
    """Return the longest namespace that all matches lie in or below: the labels before the first wildcard."""
    prefixes = [tuple(condition.path) for condition in conditions if condition.match_type == "prefix"]
    fixed = [path[: path.index("*")] if "*" in path else path for path in prefixes]
    return max(fixed, key=len, default=())


def is_match(condition: Any, namespace: Namespace) -> bool:
    """Return whether a namespace begins, or ends, with a path, in which `*` is any label."""
    path = tuple(condition.path)
    if condition.match_type not in {"prefix", "suffix"}:
        raise ValueError(f"unknown match type {condition.match_type!r}: use 'prefix' or 'suffix'")
    if len(namespace) < len(path):
        return False
    labels = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in {"*", label} for wanted, label in zip(path, labels, strict=True))


def is_decided_by(conditions: Iterable[Any], depth: int | None) -> bool:
    """Return whether the first `depth` labels of a namespace tell whether it matches."""
    return depth is not None and all(each.match_type == "prefix" and len(each.path) <= depth for each in conditions)


# ── filters ──


def _compare(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Return a comparison of numbers with numbers and texts with texts; others are never in order."""

    def compare(value: Any, bound: Any) -> bool:
        both = (value, bound)
        if all(isinstance(each, str) for each in both) or all(isinstance(each, int | float) for each in both):
            return holds(value, bound)
        return False

    return compare


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, other: bool(value == other),
    "$ne": lambda value, other: bool(value != other),
    "$gt": _compare(lambda value, bound: bool(value > bound)),
    "$gte": _compare(lambda value, bound: bool(value >= bound)),
    "$lt": _compare(lambda value, bound: bool(value < bound)),
    "$lte": _compare(lambda value, bound: bool(value <= bound)),
}


def passes(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a value passes a filter: every field equals what is wanted, or fulfils its operators."""
    return all(_fulfils(value.get(field), condition) for field, condition in (wanted or {}).items())


def _fulfils(value: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        operators = [name for name in condition if isinstance(name, str) and name.startswith("$")]
        if not operators:
            return isinstance(value, Mapping) and passes(value, condition)
        unknown = [name for name in condition if name not in _OPERATORS]
        if unknown:
            raise ValueError(f"unknown operator {unknown[0]!r} in a filter: use one of {', '.join(_OPERATORS)}")
        return all(_OPERATORS[name](value, operand) for name, operand in condition.items())
    if isinstance(condition, list | tuple):
        return isinstance(value, list | tuple) and len(value) == len(condition) and all(map(_fulfils, value, condition))
    return bool(value == condition)


# ── what the rows of the index hold ──

_INDEXED_BYTES = 256


def row_payload(name: str, token: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of an item's row: its name, its version, its labels, and the short texts of its value."""
    namespace, _ = namespace_and_key(name)
    texts = {field: text for field, text in value.items() if _is_indexed(field, text)}
    return {"name": name, "token": token, "labels": {str(n): label for n, label in enumerate(namespace)}, "is": texts}


def rows_where(namespace: Namespace, wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the filter of rows that finds every item in or below a namespace that passes a filter, and few others."""
    where: dict[str, Any] = {f"labels.{n}": label for n, label in enumerate(namespace)}
    where |= {f"is.{field}": text for field, text in (wanted or {}).items() if _is_indexed(field, text)}
    return where or None


def _is_indexed(field: Any, text: Any) -> bool:
    return isinstance(field, str) and "." not in field and isinstance(text, str) and len(text) <= _INDEXED_BYTES
