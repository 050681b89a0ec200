"""Declared metrics: read from TOML, checked at the door, folded to one verdict a session."""

from __future__ import annotations

import contextlib
import math
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue
from kedge.guard import FailureTest, LatencyTest, ScoreTest
from kedge.guard.draws import imputed
from kedge.guard.metrics import Metric, guard_settings, metric_of, parse_metrics, weighted
from kedge.guard.settings import FailureSettings, LatencySettings, ScoreSettings
from kedge.model.declared_metrics import DeclaredMetric
from kedge.model.observations import Lines, Observation, plain_value

TOML = """
[metrics.resolved]
kind = "success"
deadline = "2h"
weight = 0.5

[metrics.helpful]
kind = "score"
low = 1
high = 5

[metrics.answer]
kind = "latency"
timeout = 30

[metrics.retries]
kind = "count"
high = 5
absent = 0

[metrics.cost]
kind = "ratio"
high = 3

[metrics.leak]
kind = "event"
"""


def _all() -> dict[str, Metric]:
    return parse_metrics(tomllib.loads(TOML))


def test_toml_gives_metrics_with_their_tests() -> None:
    found = _all()
    assert found["resolved"].deadline == 7_200
    assert found["resolved"].settings().test == FailureSettings("success")
    assert found["helpful"].settings().test == ScoreSettings(1, 5)
    assert found["retries"].settings().test == ScoreSettings(-5, 0)
    assert found["answer"].settings().test == LatencySettings()
    assert (found["cost"].role, found["leak"].is_hard, found["leak"].is_tested) == ("signal", True, False)
    with pytest.raises(InvalidValue, match="is an event"):
        found["leak"].settings()


def test_guardrails_without_a_weight_share_what_is_left() -> None:
    assert {name: metric.weight for name, metric in weighted(_all().values()).items()} == {
        "resolved": 0.5,
        "helpful": pytest.approx(1 / 6),
        "answer": pytest.approx(1 / 6),
        "retries": pytest.approx(1 / 6),
    }
    assert [metric.name for metric in guard_settings(_all().values(), alpha=0.1).metrics] == list(
        weighted(_all().values())
    )
    whole = parse_metrics({"a": {"kind": "success", "weight": 1.0}, "b": {"kind": "success"}})
    with pytest.raises(InvalidValue, match="no weight is left for 'b'"):
        weighted(whole.values())


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"kind": "succes"}, "did you mean 'success'"),
        ({"kind": "success", "dedline": 3}, "unknown key 'dedline' .did you mean 'deadline'"),
        ({"knd": "success"}, "unknown key 'knd' .did you mean 'kind'"),
        ({}, "has no kind"),
        ({"kind": "success", "low": 3}, "only of the kinds score, ratio"),
        ({"kind": "success", "timeout": 3}, "only of the kinds latency"),
        ({"kind": "latency"}, "has no timeout"),
        ({"kind": "count"}, "has no high"),
        ({"kind": "score", "low": 3, "high": 2}, "invalid low 3 and high 2"),
        ({"kind": "score", "high": math.inf}, "must be two finite numbers"),
        ({"kind": "success", "weight": 0}, "invalid weight"),
        ({"kind": "success", "weight": True}, "invalid weight"),
        ({"kind": "success", "max_missing": 1.5}, "invalid max_missing"),
        ({"kind": "success", "deadline": "soon"}, "invalid deadline"),
        ({"kind": "success", "fresh": 0}, "invalid fresh"),
        ({"kind": "success", "hard": 1}, "must be true or false"),
        ({"kind": "score", "unit": 1}, "must be text"),
        ({"kind": "score", "better": "bigger"}, "invalid better"),
        ({"kind": "latency", "timeout": 3, "aggregate": "mena"}, "did you mean 'mean'"),
        ({"kind": "count", "high": 3, "absent": True}, "invalid absent True"),
        ({"kind": "ratio", "high": 1, "role": "guardrail"}, "a ratio is a signal"),
        (3, "write a table"),
    ],
)
def test_every_slip_is_refused_with_what_to_do(table: Any, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        parse_metrics({"m": table})


@pytest.mark.parametrize("table", [{}, 3, {"kedge:own": {"kind": "success"}}, {"metrics": {}}])
def test_no_metrics_and_reserved_names_are_refused(table: Any) -> None:
    with pytest.raises(InvalidValue, match=r"table of tables|reserved"):
        parse_metrics(table)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("resolved", True, None),
        ("resolved", 1, "type"),
        ("helpful", 1, None),
        ("helpful", 5.5, "range"),
        ("helpful", True, "type"),
        ("helpful", math.nan, "range"),
        ("answer", 31.0, None),
        ("answer", -0.1, "range"),
        ("answer", math.inf, "range"),
        ("retries", "3", "type"),
        ("retries", 9, None),
        ("retries", 10**400, "range"),
        ("cost", [10**400, 1], "range"),
        ("cost", [1, 2], None),
        ("cost", [1, -2], "range"),
        ("cost", 3, "type"),
        ("cost", [1, 2, 3], "type"),
        ("cost", [1, math.nan], "range"),
        ("leak", True, None),
        ("leak", "yes", "type"),
    ],
)
def test_values_are_checked_at_the_door(name: str, value: Any, why: str | None) -> None:
    assert _all()[name].refusal(value) == why


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("resolved", [True, True], True),
        ("resolved", [True, False, True], False),
        ("resolved", [], None),
        ("helpful", [5, 2], 3.5),
        ("answer", [3.0, 45.0], 30.0),
        ("retries", [2, 1], -3.0),
        ("retries", [4, 4], -5.0),
        ("retries", [], 0.0),
        ("cost", [[2, 1], [4, 2]], -2.0),
        ("cost", [[2, 0]], None),
        ("cost", [[20, 1]], -3.0),
    ],
)
def test_a_session_has_one_verdict(name: str, values: list[Any], verdict: Any) -> None:
    assert _all()[name].verdict(values) == verdict


def test_a_failure_counts_once_and_a_mean_of_latencies_is_one() -> None:
    found = parse_metrics(
        {"e": {"kind": "failure", "absent": False}, "l": {"kind": "latency", "timeout": 9, "aggregate": "mean"}}
    )
    assert [found["e"].verdict(values) for values in ([False, True], [False], [])] == [True, False, False]
    assert found["l"].verdict([1, 5]) == 3.0


def test_what_is_missing_counts_against_a_difference() -> None:
    metrics = _all()
    names = ["resolved", "helpful", "answer", "cost"]
    arms = [[imputed(metrics[name], None, is_canary=is_canary) for name in names] for is_canary in (True, False)]
    assert arms == [[True, 5.0, 30.0, 0.0], [False, 1.0, 30.0, -3.0]]
    assert imputed(metrics["resolved"], False, is_canary=True) is False


def test_a_declared_metric_has_its_test() -> None:
    declared = DeclaredMetric("helpful", "score", 1, 5)
    assert metric_of(declared).settings().test == ScoreSettings(1, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from(["resolved", "helpful", "answer", "retries", "cost"]), values=st.lists(JSON, max_size=4))
def test_what_is_accepted_gives_a_verdict_that_its_test_takes(name: str, values: list[Any]) -> None:
    metric = _all()[name]
    verdict = metric.verdict([plain_value(metric, value) for value in values if metric.refusal(value) is None])
    if verdict is None:
        return
    assert min(metric.worst, metric.best) <= verdict <= max(metric.worst, metric.best)
    test = metric.settings().test
    if isinstance(test, FailureSettings):
        assert FailureTest(test.kind).observe("canary", verdict, 0.5) >= 0
    elif isinstance(test, ScoreSettings):
        assert ScoreTest(test.low, test.high).observe("canary", verdict, 0.5) >= 0
    else:
        assert LatencyTest().observe("canary", verdict, 0.5) >= 0


KEYS = st.sampled_from(
    ["kind", "low", "high", "timeout", "weight", "deadline", "fresh", "absent", "better", "hard", "x"]
)


@given(table=st.dictionaries(KEYS, JSON | st.sampled_from(["success", "score", "count", "latency", "1h"]), max_size=5))
def test_any_table_is_a_metric_or_is_refused(table: dict[str, Any]) -> None:
    try:
        metric = Metric.read("m", table)
    except InvalidValue:
        return
    assert msgspec.json.decode(msgspec.json.encode(metric), type=Metric) == metric


@given(record=JSON | st.dictionaries(st.sampled_from(["session", "metric", "value", "at", "agent", "x"]), JSON))
def test_any_record_is_an_observation_or_is_refused(record: Any) -> None:
    with contextlib.suppress(InvalidValue):
        Observation.read(record)


@given(line=st.binary(max_size=20) | st.text(max_size=20))
def test_any_line_is_an_observation_or_is_refused(line: Any) -> None:
    with contextlib.suppress(InvalidValue):
        Lines().read(line)
