"""Verdicts on messages, paths through casters, and the specification of each carrier."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue
from kedge.model import carriers
from kedge.model.negotiation import Decision, Rule, Verdict, decide, digest, path, read_rules

versions = st.integers(1, 5)
OURS = {"baggage": "kedge=body.signature"}


def test_rules_are_read_short_or_long() -> None:
    assert read_rules("a/speaks", {"x": 3, "y": {"version": 2, "takes": [1]}}) == {
        "x": Rule(3), "y": Rule(2, takes=(1,)),
    }  # fmt: skip
    with pytest.raises(InvalidValue, match="a/speaks"):
        read_rules("a/speaks", [1])


@given(st.sets(st.tuples(versions, versions)), versions, versions)
def test_a_path_is_a_shortest_walk_over_casters(edges: set[tuple[int, int]], start: int, end: int) -> None:
    way = path(edges, start, end)
    reached, distance = {start}, 0
    while end not in reached and distance < 5:
        reached |= {to for at, to in edges if at in reached}
        distance += 1
    if end not in reached:
        assert way == ()
        return
    assert (way[0], way[-1], len(way)) == (start, end, distance + 1)
    assert set(pairwise(way)) <= edges


def test_the_same_version_needs_no_caster_and_no_leave() -> None:
    assert decide(Rule(2, takes=()), 2, []) == Decision(Verdict.ACCEPT)
    assert decide(Rule(2, takes=()), 1, [(1, 2)]).verdict is Verdict.REFUSE
    assert decide(Rule(3), 1, [(1, 2), (2, 3)]).path == (1, 2, 3)


def test_staleness_comes_before_everything() -> None:
    assert decide(Rule(2), 1, [], stale="v3").verdict is Verdict.SYNC
    assert decide(Rule(2, stale="refuse"), 2, [], stale="v3").verdict is Verdict.REFUSE
    assert decide(Rule(2, stale="accept"), 1, [], stale="v3").verdict is Verdict.REFUSE


def test_a_digest_is_of_schema_and_content_whatever_the_order() -> None:
    assert digest("case", {"a": 1, "b": [1.5, None]}) == digest("case", {"b": [1.5, None], "a": 1})
    assert digest("case", {"a": 1}) != digest("bill", {"a": 1})
    with pytest.raises(InvalidValue, match="is not JSON"):
        digest("case", object())


def test_http_keeps_other_baggage_and_one_of_ours() -> None:
    request = {"Accept": "*/*", "BAGGAGE": "a=1 , kedge=older;p=1,b=2;ttl=3"}
    assert carriers.to_http(OURS, request) == {"Accept": "*/*", "BAGGAGE": "a=1,b=2;ttl=3,kedge=body.signature"}
    assert carriers.to_http(OURS) == OURS
    assert carriers.from_http(request) == {"baggage": request["BAGGAGE"]}


def test_several_baggage_headers_count_as_one() -> None:
    request = {"Baggage": "kedge=one.s", "Accept": "*/*", "baggage": "a=1,kedge=two.s"}
    assert carriers.from_http(request) == {"baggage": "kedge=one.s,a=1,kedge=two.s"}
    assert carriers.from_http({"Accept": "*/*"}) == {}


def test_a2a_lists_the_extension_and_keys_its_metadata_by_the_uri() -> None:
    message = {"messageId": "m", "extensions": ["https://example.com/geo/v1"], "metadata": {"x": 1}}
    twice = carriers.to_a2a(OURS, carriers.to_a2a(OURS, message))
    assert twice["extensions"] == ["https://example.com/geo/v1", carriers.A2A_EXTENSION]
    assert twice["metadata"] == {"x": 1, carriers.A2A_EXTENSION: OURS}
    assert message == {"messageId": "m", "extensions": ["https://example.com/geo/v1"], "metadata": {"x": 1}}
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+v\d+", carriers.A2A_EXTENSION)  # a URI that says its version


def test_mcp_uses_the_reserved_key() -> None:
    params = {"name": "refund", "_meta": {"progressToken": 1, "baggage": "a=1"}}
    assert carriers.to_mcp(OURS, params)["_meta"] == {"progressToken": 1, "baggage": "a=1,kedge=body.signature"}
    assert carriers.to_mcp(OURS, {})["_meta"] == OURS


@pytest.mark.parametrize("garbage", [{}, {"_meta": None, "metadata": None}, {"_meta": [], "metadata": 3}])
def test_what_is_of_another_shape_carries_nothing(garbage: dict[str, Any]) -> None:
    nested = {"metadata": {carriers.A2A_EXTENSION: ["x"]}, "_meta": {"baggage": 3}}
    for message in (garbage, nested):
        assert carriers.from_a2a(message) == {}
        assert carriers.from_mcp(message) == {}
    assert carriers.to_mcp(OURS, garbage)["_meta"]["baggage"] == OURS["baggage"]
    assert carriers.to_a2a(OURS, garbage)["metadata"] == {carriers.A2A_EXTENSION: OURS}
