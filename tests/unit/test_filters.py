"""Payload filters, against a naive evaluator."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue
from kedge.model.filters import check_filter, matches

fields = st.sampled_from(["lang", "n", "tag"])
values = st.one_of(st.integers(-3, 3), st.sampled_from(["en", "de", ""]), st.none(), st.booleans(), st.floats(-2, 2))
payloads = st.one_of(st.dictionaries(fields, values), st.none(), st.lists(values), values)
operators = st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"])
conditions = st.one_of(
    values,
    st.dictionaries(operators, values, min_size=1, max_size=2),
    st.fixed_dictionaries({"in": st.lists(values, max_size=3)}),
)
filters = st.recursive(
    st.dictionaries(fields, conditions, max_size=2),
    lambda inner: st.dictionaries(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3), min_size=1),
    max_leaves=6,
)


def naive(payload: Any, where: dict[str, Any]) -> bool:
    for field, condition in where.items():
        if field == "and":
            holds = min(naive(payload, part) for part in condition)
        elif field == "or":
            holds = max(naive(payload, part) for part in condition)
        elif type(payload) is not dict or field not in payload:
            holds = False
        elif type(condition) is dict:
            holds = all(naive_operator(name, payload[field], operand) for name, operand in condition.items())
        else:
            holds = payload[field] == condition
        if not holds:
            return False
    return True


def naive_operator(name: str, value: Any, operand: Any) -> bool:
    if name == "in":
        return value in operand
    if name in {"eq", "ne"}:
        return (value == operand) is (name == "eq")
    if isinstance(value, str) != isinstance(operand, str) or value is None or operand is None:
        return False
    if name == "gt":
        return bool(value > operand)
    if name == "gte":
        return bool(value >= operand)
    return bool(value < operand) if name == "lt" else bool(value <= operand)


@given(payloads, filters)
def test_it_agrees_with_the_naive_evaluator(payload: Any, where: dict[str, Any]) -> None:
    check_filter(where)
    assert matches(payload, where) == naive(payload, where)


def test_no_condition_lets_everything_pass() -> None:
    assert matches(None, {})
    assert matches({"n": 1}, {})


def test_a_missing_field_passes_nothing_not_even_ne() -> None:
    assert not matches({"n": 1}, {"lang": {"ne": "en"}})
    assert not matches({"n": 1}, {"lang": None})


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("lang = 'en'", "must be a mapping"),
        ({1: "en"}, "fields are strings"),
        ({"lang": {"like": "e%"}}, "unknown operator 'like'; use one of eq, ne, gt, gte, lt, lte, in"),
        ({"lang": {}}, "'lang'. has no operator"),
        ({"lang": {"in": "en"}}, "must be a list, not 'en'"),
        ({"and": {"lang": "en"}}, "'and'. must be a list of filters"),
        ({"or": []}, "'or'. must be a list of filters"),
        ({"or": [{"n": {"between": 1}}]}, "unknown operator 'between'"),
    ],
)
def test_a_filter_that_cannot_be_decided_is_refused(where: object, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        check_filter(where)
