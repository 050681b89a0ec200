"""Observations: declared metrics, checks at the door, what judges say later, and what a purge erases."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge import aio
from kedge.errors import IdempotencyMismatch, InvalidValue, UnknownName
from kedge.guard.metrics import parse_metrics
from kedge.model.observations import ObserveReport
from kedge.turns import observing
from kedge.turns.observing import ObservationRefusedWarning
from tests.contract.conftest import MONDAY, HandClock

TABLES = {
    "resolved": {"kind": "success", "fresh": "2h"},
    "helpful": {"kind": "score", "low": 1, "high": 5},
    "cost": {"kind": "ratio", "high": 3},
}


@pytest.fixture
def session(k: kedge.Kedge) -> str:
    """Begin a session, and declare metrics."""
    k.guard.declare(TABLES, reason="launch of v2", by="ann")
    with k.turn(session="s-1", agent="support"):
        pass
    return "s-1"


def values(k: kedge.Kedge, metric: str) -> list[Any]:
    return [sample.value for sample in k._kernel.backend.metrics.observations(metric)]


def refused(k: kedge.Kedge) -> dict[str, dict[str, int]]:
    return {report.name: report.refused for report in k.guard.metrics() if report.refused}


# ── declaring ──


@pytest.mark.usefixtures("session")
def test_declarations_are_durable_logged_and_withdrawn(k: kedge.Kedge, place: str) -> None:
    entry = k.log()[0]
    assert (entry.kind, entry.by, entry.reason) == ("declare-metrics", "ann", "launch of v2")
    assert [each["name"] for each in entry.detail["metrics"]] == list(TABLES)
    with kedge.open(place, read_only=True) as other:
        found = {report.name: report.metric for report in other.guard.metrics()}
    assert found == parse_metrics(TABLES)
    again = k.guard.declare(parse_metrics({"helpful": {"kind": "score", "low": 0, "high": 9}}).values())
    assert (sorted(again), again["helpful"].high) == (sorted(TABLES), 9.0)
    with pytest.raises(UnknownName, match="did you mean 'helpful'"):
        k.guard.withdraw("helpfull")
    assert sorted(k.guard.withdraw("helpful", by="ann")) == ["cost", "resolved"]
    assert k.log()[0].kind == "withdraw-metric"


@pytest.mark.parametrize("given", [{}, [], 3, "resolved", [{"kind": "success"}]])
def test_what_is_no_metric_is_not_declared(k: kedge.Kedge, given: Any) -> None:
    with pytest.raises(InvalidValue, match="must be"):
        k.guard.declare(given)
    assert k.guard.metrics() == []


def test_a_database_has_so_many_metrics_and_no_more(k: kedge.Kedge) -> None:
    tables = {f"m-{n}": {"kind": "success"} for n in range(60)}
    k.guard.declare(tables)
    with pytest.raises(InvalidValue, match="64 declared metrics at most, not 65"):
        k.guard.declare({f"more-{n}": {"kind": "success"} for n in range(5)})
    assert len(k.guard.metrics()) == 60


# ── in a turn ──


def test_a_turn_drops_what_a_declared_metric_refuses_and_goes_on(k: kedge.Kedge, session: str) -> None:
    with k.turn(session=session, agent="support") as turn:
        turn.observe("resolved", True)
        turn.observe("cost", (1, 2))
        turn.observe("free", "as before")
        with pytest.warns(
            ObservationRefusedWarning, match=r"'helpful' was refused .range.: 9; it must be a number from 1"
        ):
            turn.observe("helpful", 9)
        with warnings.catch_warnings():  # once for each reason in a process
            warnings.simplefilter("error")
            turn.observe("helpful", 0)
        with pytest.warns(ObservationRefusedWarning, match="type"):
            turn.observe("resolved", [object()])
        with pytest.raises(InvalidValue, match="must be a number, bool or string"):
            turn.observe("free", [1])
    assert [values(k, name) for name in ("resolved", "cost", "free", "helpful")] == [
        [True],
        [[1, 2]],
        ["as before"],
        [],
    ]
    assert refused(k) == {"helpful": {"range": 2}, "resolved": {"type": 1}}
    assert {(t.metric, t.agent, t.value, t.count) for t in k.status().refused_values} == {
        ("helpful", "support", "range", 2), ("resolved", "support", "type", 1),
    }  # fmt: skip


def test_a_turn_that_is_open_hears_of_a_declaration(k: kedge.Kedge) -> None:
    with k.turn(session="s-1", agent="support") as turn:
        turn.observe("helpful", 9)
        k.guard.declare(TABLES)
        turn.memory.append("user", "hello")
        with pytest.warns(ObservationRefusedWarning):
            turn.observe("helpful", 9)
    assert values(k, "helpful") == [9]


def test_the_part_of_sessions_without_a_value_is_shown(k: kedge.Kedge, clock: HandClock) -> None:
    k.guard.declare(
        {"resolved": {"kind": "success", "deadline": 60}, "retries": {"kind": "count", "high": 3, "absent": 0}}
    )
    assert [(r.sessions, r.missing) for r in k.guard.metrics()] == [(0, None), (0, None)]
    for number in range(4):
        with k.turn(session=f"m-{number}", agent="support") as turn:
            if number:
                turn.observe("resolved", True)
    assert [(r.name, r.sessions) for r in k.guard.metrics()] == [("resolved", 0), ("retries", 0)], "none is due"
    clock.time += 61.0
    k.observe(session="m-0", metric="resolved", value=True)  # too late
    resolved, _ = k.guard.metrics()
    assert (resolved.sessions, resolved.missing) == (4, 0.25)
    clock.time += 3_600.0
    _, retries = k.guard.metrics()
    assert (retries.sessions, retries.missing) == (4, 0.0)


# ── from outside ──


def test_a_judge_answers_an_hour_later(k: kedge.Kedge, session: str, clock: HandClock) -> None:
    clock.time += 3_600.0
    moment = datetime.fromtimestamp(MONDAY + 5, UTC)
    assert k.observe(session=session, metric="resolved", value=True, at=MONDAY + 5, agent="judge") == "stored"
    assert k.observe(session=session, metric="helpful", value=4, at=moment) == "stored"
    assert k.observe(session=session, metric="helpful", value=5, at=moment.isoformat()) == "stored"
    assert k.observe(session=session, metric="free", value="now") == "stored"
    found = [s for name in ("resolved", "helpful", "free") for s in k._kernel.backend.metrics.observations(name)]
    assert [(s.value, s.at - MONDAY, s.session, s.agent) for s in found] == [
        (True, 5, session, "judge"), (4, 5, session, None), (5, 5, session, None), ("now", 3_600, session, None),
    ]  # fmt: skip
    (arrived,) = k._kernel.backend.metrics.of_sessions([session], ["resolved"])
    assert arrived.arrived == MONDAY + 3_600


@pytest.mark.parametrize(
    ("given", "says", "why"),
    [
        (("resolved", 1, None), "must be True or False", "type"),
        (("helpful", 9, None), "must be a number from 1 to 5", "range"),
        (("cost", [1, "x"], None), "pair of finite numbers", "type"),
        (("free", [1], None), "must be a number, bool or string", "type"),
        (("resolved", True, MONDAY + 8_000), "it is in the future", "future"),
        (("resolved", True, MONDAY - 7_300), "it is stale", "stale"),
    ],
)
def test_what_is_refused_raises_and_is_counted(
    k: kedge.Kedge, session: str, given: tuple[str, Any, float | None], says: str, why: str
) -> None:
    metric, value, at = given
    with pytest.raises(InvalidValue, match=says):
        k.observe(session=session, metric=metric, value=value, at=at)
    assert values(k, metric) == []
    assert refused(k) == {metric: {why: 1}}


@pytest.mark.usefixtures("session")
def test_an_unknown_session_is_refused_and_counted(k: kedge.Kedge) -> None:
    with pytest.raises(UnknownName, match="no session is named 's-2'"):
        k.observe(session="s-2", metric="resolved", value=True)
    assert refused(k) == {"resolved": {"unknown session": 1}}


@pytest.mark.parametrize(
    "wrong",
    [{"metric": "kedge:own"}, {"session": ""}, {"at": "soon"}, {"at": datetime(2026, 1, 1)}, {"at": True}],  # noqa: DTZ001
)
def test_slips_of_the_call_are_refused(k: kedge.Kedge, session: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        k.observe(**{"session": session, "metric": "resolved", "value": True, **wrong})
    assert refused(k) == {}


def test_a_key_stores_once(k: kedge.Kedge, session: str) -> None:
    call: dict[str, Any] = {"session": session, "metric": "resolved", "value": True, "idempotency": "verdict-1"}
    assert [k.observe(**call), k.observe(**call)] == ["stored", "repeated"]
    with pytest.raises(IdempotencyMismatch, match="'verdict-1' was used before"):
        k.observe(**call | {"value": False})
    assert values(k, "resolved") == [True]


def lines(count: int) -> Iterator[str]:
    for number in range(count):
        yield json.dumps({"session": "s-1", "metric": "resolved", "value": number % 2 == 0, "at": MONDAY})


@pytest.mark.usefixtures("session")
def test_lines_are_stored_once_however_often_they_are_read(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "BATCH", 4)
    told: list[ObserveReport] = []
    given = [*lines(9), "", "{", json.dumps({"session": "s-1", "metric": "helpful", "value": 9})]
    report = k.guard.observe(given, progress=told.append)
    assert (report.stored, report.refused, [r.line for r in report.refusals]) == (9, 2, [11, 12])
    assert [each.stored for each in told] == [4, 8, 9]
    assert told[-1] == report
    again = k.guard.observe([*given, *lines(11)])
    assert (again.stored, again.repeated) == (11, 9), "lines that are equal are told apart by how many came before"
    assert len(values(k, "resolved")) == 20
    assert refused(k) == {"helpful": {"range": 1}}, "a refusal is counted once, too"


@pytest.mark.usefixtures("session")
def test_two_that_read_one_file_at_once_store_it_once(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "BATCH", 10)
    given, reports = list(lines(60)), list[ObserveReport]()
    start = threading.Barrier(2)

    def read(part: list[str]) -> None:
        start.wait()
        reports.append(k.guard.observe(part))

    threads = [threading.Thread(target=read, args=(part,)) for part in (given, given[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values(k, "resolved")) == 60
    assert (sum(report.stored for report in reports), sum(report.repeated for report in reports)) == (60, 60)


def test_records_name_their_slips(k: kedge.Kedge, session: str) -> None:
    given = [{"session": session, "metrik": "resolved", "value": True}, {"session": session, "value": True}, 3]
    report = k.guard.observe(given)
    assert [refusal.why.split(";")[0] for refusal in report.refusals] == [
        "unknown key 'metrik' (did you mean 'metric'?)", "the key 'metric' is missing", "3 is no record",
    ]  # fmt: skip
    assert "0 observations stored" in str(report)


# ── what it rests on ──


def test_a_purge_erases_what_was_said_of_its_sessions(k: kedge.Kedge, session: str) -> None:
    k.deploy("v2", {"support/prompt": "two"}, canary=1.0)
    with k.turn(session="canary", agent="support"):
        pass
    k.observe(session="canary", metric="resolved", value=False)
    k.observe(session=session, metric="resolved", value=True)
    k.rollback("v2", reason="worse")
    assert k.observe(session="canary", metric="helpful", value=1) == "stored", "a judge that answers late"
    k.purge("v2", confirm="v2")
    assert k.observe(session="canary", metric="helpful", value=2) == "purged"
    assert [values(k, name) for name in ("resolved", "helpful")] == [[True], []]


def test_a_purge_erases_what_rests_on_a_memory_that_carries_it(k: kedge.Kedge, session: str) -> None:
    with k.turn(session="s-2", agent="support") as turn:
        turn.absorb({}, peer="crm")
        turn.memory.append("assistant", "as the crm says")
    k.observe(session="s-2", metric="resolved", value=False)
    k.observe(session=session, metric="resolved", value=True)
    k.rollback("external:crm", reason="lies")
    k.purge("external:crm", confirm="external:crm")
    assert values(k, "resolved") == [True]


@pytest.mark.usefixtures("session")
def test_a_session_that_moved_on_keeps_what_it_saw(k: kedge.Kedge, clock: HandClock) -> None:
    k.deploy("v2", {"support/prompt": "two"}, canary=1.0)
    with k.turn(session="moving", agent="support"):
        pass
    clock.time += 10.0
    k.canary("v2", 0.0)
    k.refresh("moving")
    k.observe(session="moving", metric="resolved", value=False, at=clock.time - 5.0)
    (sample,) = k._kernel.backend.metrics.observations("resolved")
    number = k._kernel.backend.control.number_of("v2")
    assert number in sample.seen
    k.rollback("v2", reason="worse")
    k.purge("v2", confirm="v2")
    assert values(k, "resolved") == []


def test_a_move_to_another_database_takes_them_along(place: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with kedge.open(place, durability="normal") as k:
        k.guard.declare(TABLES)
        with k.turn(session="s-1", agent="support", unit_id="u-1"):
            pass
        told: dict[str, Any] = {
            "session": "s-1",
            "metric": "helpful",
            "value": 4,
            "at": MONDAY,
            "idempotency": "verdict-1",
        }
        k.observe(**told)
        (before,) = k._kernel.backend.metrics.of_sessions(["s-1"], ["helpful"])
    kedge.migrate_store(place, target)
    with kedge.open(target) as moved:
        assert moved.observe(**told) == "repeated"
        assert {report.name: report.metric for report in moved.guard.metrics()} == parse_metrics(TABLES)
        (after,) = moved._kernel.backend.metrics.of_sessions(["s-1"], ["helpful"])
        assert (after.value, after.at, after.arrived) == (4, MONDAY, before.arrived)


async def _observe_async(place: str, clock: HandClock) -> Any:
    async with aio.open(place, durability="normal", clock=clock) as k:
        return await k.observe(session="s-1", metric="resolved", value=True)


@pytest.mark.usefixtures("session")
def test_the_async_twin_observes(k: kedge.Kedge, place: str, clock: HandClock) -> None:
    assert asyncio.run(_observe_async(place, clock)) == "stored"
    assert values(k, "resolved") == [True]
