"""Compatibility of JSON Schemas: what narrows, what values break, what is not understood."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.guard.schemas import narrowed, unknown_keywords, violations

CASE = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["n"],
}


@pytest.mark.parametrize(
    "new",
    [
        CASE,
        CASE | {"required": []},
        CASE | {"title": "a case", "type": ["object", "null"]},
        CASE | {"properties": {"n": {"type": "number", "minimum": 0}, "why": {"type": "string"}}},
        {},
        True,
    ],
)
def test_what_allows_more_is_compatible(new: Any) -> None:
    assert list(narrowed(CASE, new)) == []
    assert list(violations(new, {"n": 3, "tags": ["a"]})) == []


@pytest.mark.parametrize(
    ("old", "new", "value", "said"),
    [
        (CASE, CASE | {"required": ["n", "tags"]}, {"n": 1}, "required"),
        (CASE, CASE | {"additionalProperties": False}, {"n": 1, "x": 2}, "further properties"),
        (CASE, {"type": "array"}, {"n": 1}, "type object"),
        (CASE, CASE | {"properties": {"n": {"type": "string"}}}, {"n": 1}, "$.n: type integer"),
        (CASE, CASE | {"properties": {"n": {"type": "integer", "minimum": 2}}}, {"n": 1}, "minimum is 2"),
        (CASE, CASE | {"properties": {"tags": {"items": {"enum": ["a"]}}}}, {"n": 1, "tags": ["b"]}, "$.tags[]"),
        (CASE, False, {"n": 1}, "has become False"),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "b", "fewer values"),
        ({}, {"enum": ["a"]}, "b", "fewer values"),
        ({"const": 1}, {"const": 2}, 1, "only 2"),
        ({"maxLength": 5}, {"maxLength": 4}, "abcde", "maxLength is 4"),
        ({}, {"maximum": 4}, 5, "maximum is 4"),
        ({"type": "number"}, {"type": "integer"}, 1.5, "type number"),
    ],
)
def test_what_allows_less_is_told_and_refuses_a_value(old: Any, new: Any, value: Any, said: str) -> None:
    assert said in "; ".join(narrowed(old, new))
    assert list(violations(old, value)) == []
    assert list(violations(new, value)) != []


def test_a_boolean_is_no_number() -> None:
    assert list(violations({"type": "number"}, True)) != []
    assert list(violations({"type": "boolean"}, True)) == []
    assert list(violations({"type": "integer"}, 2.0)) == []


def test_keywords_that_are_not_understood_are_named_unless_they_stand_unchanged() -> None:
    odd = {"properties": {"n": {"pattern": "a+"}}, "oneOf": [], "additionalProperties": {"type": "string"}}
    assert unknown_keywords(odd) == {"pattern", "oneOf", "additionalProperties"}
    assert unknown_keywords(odd, odd) == set()
    assert unknown_keywords({"items": {"format": "date"}}, {"items": {}}) == {"format"}
