"""Compatibility of schemas: versions of messages between agents, and JSON Schemas of values."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kedge.model.negotiation import Rule, Verdict, decide

Rules = Mapping[str, Mapping[str, Rule]]  # by agent, by schema
Schema = Mapping[str, Any]
Edges = Mapping[str, Collection[tuple[int, int]]]  # casters by schema: from a version, to a version

_NOTES = frozenset({"$comment", "$id", "$schema", "default", "deprecated", "description", "examples", "title"})
_UNDERSTOOD = frozenset(
    {"additionalProperties", "const", "enum", "items", "maxLength", "maximum", "minLength", "minimum", "properties",
     "required", "type"}
)  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_BOUNDS = {"minimum": 1, "minLength": 1, "maximum": -1, "maxLength": -1}  # 1 where a greater one allows less
EVERY_TYPE = frozenset(_TYPES)


# ── messages ──


def refused_messages(rules: Rules, changed: Collection[str], edges: Edges) -> Iterator[str]:
    """Yield each pair of agents, one of them changed, that would refuse the messages of the other."""
    for sender, spoken in sorted(rules.items()):
        for receiver, understood in sorted(rules.items()):
            if sender == receiver or not {sender, receiver} & set(changed):
                continue
            for schema in sorted(spoken.keys() & understood.keys()):
                decision = decide(understood[schema], spoken[schema].version, edges.get(schema, ()))
                if decision.verdict is Verdict.REFUSE:
                    yield (
                        f"{receiver!r} would refuse {schema!r} version {spoken[schema].version} from {sender!r}: "
                        f"{decision.why}"
                    )


def dropped_schemas(before: Rules, after: Rules, changed: Collection[str]) -> Iterator[str]:
    """Yield the schemas that a changed agent no longer speaks, and that another agent still does."""
    for agent in sorted(changed):
        for schema in sorted(before.get(agent, {}).keys() - after.get(agent, {}).keys()):
            others = sorted(other for other, rules in after.items() if other != agent and schema in rules)
            if others:
                yield f"{agent!r} no longer speaks {schema!r}, and {', '.join(map(repr, others))} still does"


# ── JSON Schemas ──


def narrowed(old: Any, new: Any, place: str = "$") -> Iterator[str]:
    """Yield where a value that the old schema allows may be refused by the new one.

    A property that is new in `properties` is taken for one that old values lack.
    """
    if isinstance(old, bool) or isinstance(new, bool) or not (isinstance(old, dict) and isinstance(new, dict)):
        if new is not True and new != old:
            yield f"{place}: {old!r:.40} has become {new!r:.40}"
        return
    yield from (
        f"{place}: {each}" for each in (*_lost_types(old, new), *_lost_members(old, new), *_lost_values(old, new))
    )
    for name in sorted(new.get("properties", {}).keys() & old.get("properties", {}).keys()):
        yield from narrowed(old["properties"][name], new["properties"][name], f"{place}.{name}")
    if isinstance(new.get("items"), dict):
        yield from narrowed(old.get("items", {}), new["items"], f"{place}[]")


def _lost_types(old: Schema, new: Schema) -> Iterator[str]:
    lost = _types(old) - _types(new)
    if lost:
        yield f"type {', '.join(sorted(lost))} is not allowed any more"


def _lost_members(old: Schema, new: Schema) -> Iterator[str]:
    needed = sorted(set(new.get("required", ())) - set(old.get("required", ())))
    if needed:
        yield f"{', '.join(map(repr, needed))} is required now"
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield "further properties are not allowed any more"


def _lost_values(old: Schema, new: Schema) -> Iterator[str]:
    if "enum" in new and not all(value in new["enum"] for value in old.get("enum", [object()])):
        yield "fewer values are allowed"
    if "const" in new and old.get("const", object()) != new["const"]:
        yield f"only {new['const']!r:.40} is allowed now"
    for bound, sign in _BOUNDS.items():
        if bound in new and (bound not in old or sign * new[bound] > sign * old[bound]):
            yield f"{bound} is {new[bound]} now"


def unknown_keywords(schema: Any, other: Any = None) -> set[str]:
    """Return the keywords of a schema that are not understood here, save those that are equal in the other one."""
    if not isinstance(schema, dict):
        return set()
    same = other if isinstance(other, dict) else {}
    found = {key for key, value in schema.items() if key not in _UNDERSTOOD | _NOTES and same.get(key) != value}
    if isinstance(schema.get("additionalProperties"), dict) and same.get("additionalProperties") != schema.get(
        "additionalProperties"
    ):
        found.add("additionalProperties")
    inner = same.get("properties")
    for name, each in (schema.get("properties") or {}).items():
        found |= unknown_keywords(each, inner.get(name) if isinstance(inner, dict) else None)
    return found | unknown_keywords(schema.get("items"), same.get("items"))


def violations(schema: Any, value: Any, place: str = "$") -> Iterator[str]:
    """Yield where a value breaks a schema, by the keywords that are understood here."""
    if schema is False:
        yield f"{place}: nothing is allowed"
    if not isinstance(schema, dict):
        return
    if not any(_is_of(value, kind) for kind in _types(schema)):
        yield f"{place}: {type(value).__name__} where {', '.join(sorted(_types(schema)))} is allowed"
        return
    yield from (f"{place}: {each}" for each in (*_wrong_value(schema, value), *_wrong_members(schema, value)))
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name in known.keys() & value.keys():
            yield from violations(known[name], value[name], f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            yield from violations(schema["items"], each, f"{place}[{number}]")


def _wrong_value(schema: Schema, value: Any) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r:.40} is not one of the values"
    if "const" in schema and value != schema["const"]:
        yield f"{value!r:.40} is not {schema['const']!r:.40}"
    size = len(value) if isinstance(value, str) else value
    if isinstance(size, int | float) and not isinstance(size, bool):
        least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minimum", "maximum")
        if not schema.get(least, size) <= size <= schema.get(most, size):
            yield f"{size} is out of bounds"


def _wrong_members(schema: Schema, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    yield from (f"{name!r} is missing" for name in schema.get("required", ()) if name not in value)
    if schema.get("additionalProperties") is False:
        yield from (f"{name!r} is not allowed" for name in value if name not in schema.get("properties", {}))


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    given = schema.get("type", EVERY_TYPE)
    found = frozenset({given} if isinstance(given, str) else given) & EVERY_TYPE
    return found | {"integer"} if "number" in found else found


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


__all__ = ["dropped_schemas", "narrowed", "refused_messages", "unknown_keywords", "violations"]
