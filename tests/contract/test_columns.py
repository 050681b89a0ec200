"""Columns of payload fields decide filters exactly as `matches` does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kedge.backends.sqlite.columns import Columns
from kedge.model.filters import cache_key, check_filter, decided_by, matches
from kedge.model.writes import decode, encode

FIELDS = ("lang", "n", 'odd "näme"')
scalars = st.one_of(
    st.integers(-2, 2), st.integers(2**53 - 1, 2**53 + 1), st.sampled_from([2**64, -(2**70)]),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, float(2**53), 1e300]), st.booleans(), st.none(),
    st.sampled_from(["en", "de", "", "1", "true", "ä\n\"\\", "\x7f"]),
)  # fmt: skip
nested = st.one_of(st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(["n", "a"]), scalars, max_size=2))
values = st.one_of(scalars, scalars, nested)
payloads = st.one_of(
    st.dictionaries(st.sampled_from([*FIELDS, "other"]), values, max_size=4), st.none(), nested, scalars, st.binary()
)
conditions = st.one_of(
    scalars,
    st.lists(scalars, max_size=2),
    st.dictionaries(st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), values, min_size=1, max_size=2),
    st.fixed_dictionaries({"in": st.lists(values, max_size=3)}),
    st.fixed_dictionaries({"in": st.sets(st.integers(-1, 2))}),
)


def filters(fields: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        st.dictionaries(st.sampled_from(fields), conditions, max_size=2),
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3), min_size=1),
            st.builds(lambda one, more: {**one, "or": more}, inner, st.lists(inner, min_size=1, max_size=2)),
        ),
        max_leaves=6,
    )


def decided(rows: list[Any], where: dict[str, Any], fields: tuple[str, ...], cut: int) -> tuple[list[bool], bool]:
    """Return what columns that grew in two steps say of these payloads, and whether that is all of the filter."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE writes (seq INTEGER PRIMARY KEY, payload BLOB)")
        kept = [(seq * 3, encode(row)) for seq, row in enumerate(rows, start=1)]
        connection.executemany("INSERT INTO writes VALUES (?, ?)", kept)
        seqs = np.array([seq for seq, _ in kept], np.int64)
        part, is_all = decided_by(where, fields)
        columns = Columns()
        columns.extend(connection, seqs[:cut], fields[:1])
        columns.extend(connection, seqs, fields)
        whole = columns.passing(part, 0, len(rows))
        split = np.concatenate([columns.passing(part, 0, cut), columns.passing(part, cut, len(rows))])
        assert np.array_equal(whole, split)
        return whole.tolist(), is_all


@given(st.lists(payloads, min_size=1, max_size=12), filters(FIELDS), st.integers(0, 12))
def test_what_passes_is_what_matches(rows: list[Any], where: dict[str, Any], cut: int) -> None:
    check_filter(where)
    found, is_all = decided(rows, where, FIELDS, min(cut, len(rows)))
    assert is_all
    assert found == [matches(decode(encode(row)), where) for row in rows]


@given(st.lists(payloads, min_size=1, max_size=12), filters((*FIELDS, "other")), st.integers(1, 3))
def test_what_some_fields_decide_holds_of_all_that_matches(rows: list[Any], where: dict[str, Any], some: int) -> None:
    found, is_all = decided(rows, where, FIELDS[:some], 0)
    true = [matches(decode(encode(row)), where) for row in rows]
    assert all(said for said, passes in zip(found, true, strict=True) if passes)
    if is_all:
        assert found == true


def test_an_or_is_decided_by_all_its_sides_or_not_at_all() -> None:
    lang, other = {"lang": "en"}, {"other": 1}
    assert decided_by({"or": [lang, other]}, FIELDS) == ({}, False)
    assert decided_by({"or": [lang, {**lang, **other}]}, FIELDS) == ({"or": [lang, lang]}, False)
    assert decided_by({"and": [lang, other]}, FIELDS) == ({"and": [lang]}, False)
    assert decided_by({"or": [lang, {}]}, FIELDS) == ({}, True)
    assert decided_by({**lang, "or": [{"n": 1}, {"n": 2}]}, FIELDS)[1]


alike = st.sampled_from(
    [0, False, 0.0, 1, True, 1.0, "1", None, (1,), [1], {"eq": 1}, {"eq": True}, {"in": (1,)}, {"in": [1]}]
)


@given(alike, alike, payloads)
def test_filters_with_one_cache_key_pass_the_same(one: Any, other: Any, payload: Any) -> None:
    if cache_key({"n": one}) == cache_key({"n": other}):
        assert matches(payload, {"n": one}) == matches(payload, {"n": other})
        assert matches({"n": one}, {"n": one}) == matches({"n": one}, {"n": other})
