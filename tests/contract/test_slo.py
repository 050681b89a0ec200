"""Service levels are measured by the rollbacks in the log, by any process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge import InvalidValue, Kedge
from kedge.turns.scope import scope_of
from tests.contract.conftest import HandClock
from tests.contract.launching import RELEASE, World

POSTGRES_ONE_IN = 24
TABLE = {"rollback_completion": "30s", "rollback_commit": "10s", "vector_consistency": 0.999, "consensus": "5s"}


def roll_back(k: Kedge, name: str, **options: Any) -> kedge.RollbackReport:
    k.deploy(name, {"support/prompt": name})
    k.promote(name)
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert([name], [[1.0, 0.0, 0.0]])
    return k.rollback(name, **options)


def by_name(k: Kedge, table: Any = None) -> dict[str, Any]:
    return {status.objective.name: status for status in k.guard.slo(table).statuses}


@pytest.mark.both
def test_rollbacks_are_the_events(k: Kedge, clock: HandClock) -> None:
    assert k.guard.slo(TABLE).ok is None, "nothing was measured"
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert(["kept"], [[0.0, 1.0, 0.0]])
    roll_back(k, "v0")
    clock.time += 60
    roll_back(k, "v1")
    clock.time += 60
    report = roll_back(k, "v2")
    assert report.indicators is not None
    found = by_name(k, TABLE)
    assert {name: (s.events, s.bad) for name, s in found.items()} == {
        "rollback_completion": (3, 0), "rollback_commit": (3, 0), "consensus": (0, 0), "vector_consistency": (3, 0)
    }  # fmt: skip
    assert found["rollback_completion"].last == report.indicators.rollback_completion_seconds
    assert found["vector_consistency"].worst == 1.0
    assert k.guard.slo(TABLE).ok is True
    strict = k.guard.slo({"rollback_completion": "1ms"})
    assert (strict.ok, strict.statuses[0].bad) == (False, 3)
    assert str(strict) == "rollback_completion: the error budget is spent, or burns too fast"
    clock.time += 31 * 86_400
    assert k.guard.slo(TABLE).ok is None


@pytest.mark.both
def test_a_rollback_that_never_ends_is_counted(k: Kedge, clock: HandClock) -> None:
    roll_back(k, "v1", verify=False)
    assert by_name(k, TABLE)["rollback_completion"].events == 0
    clock.time += 45
    assert by_name(k, TABLE)["rollback_completion"].bad == 1
    k.recover()
    found = by_name(k, TABLE)["rollback_completion"]
    assert (found.events, found.bad) == (1, 1)
    assert found.last == pytest.approx(45, abs=1), "by the times of the log: another process may have committed it"


def test_a_verification_that_failed_counts_against_consistency_alone(k: Kedge, clock: HandClock) -> None:
    clock.time += 1
    control = scope_of(k.view()).backend.control
    indicators = {"vector_consistency_ratio": 0.5, "rollback_completion_seconds": 1.0}
    control.step("op", "rollback:verification-failed", by="x", detail={"ok": False, "indicators": indicators})
    found = by_name(k, TABLE)
    assert (found["vector_consistency"].bad, found["rollback_completion"].events) == (1, 0)


@pytest.mark.both
def test_objectives_are_kept_in_the_log(k: Kedge) -> None:
    with pytest.raises(InvalidValue, match="no objectives are set"):
        k.guard.slo()
    before = k.epoch
    k.guard.set_slo({"consensus": "5s"}, by="ann")
    k.guard.set_slo({"slo": {"rollback_completion": {"at_most": "30s", "goal": 0.9}}}, by="ann")
    assert [s.objective.goal for s in k.guard.slo().statuses] == [0.9]
    assert k.epoch == before
    assert (k.log(1)[0].kind, k.log(1)[0].by) == ("slo:set", "ann")
    with pytest.raises(InvalidValue, match="unknown objective"):
        k.guard.set_slo({"speed": 1})


def test_a_launch_keeps_the_objectives_of_its_release(k: Kedge, clock: HandClock) -> None:
    world = World(k, clock)
    release = RELEASE | {"slo": {"rollback_completion": "20s"}}
    world.look(release)
    world.look(release)
    assert [status.objective.bound for status in k.guard.slo().statuses] == [20.0]
    world.look(release | {"deployment": "v3"})
    assert len([entry for entry in k.log(200) if entry.kind == "slo:set"]) == 1
    with pytest.raises(InvalidValue, match="unknown objective 'speed'"):
        k.guard.plan(RELEASE | {"slo": {"speed": 1}})


@pytest.mark.only("sqlite", reason="the façade knows nothing of what lies under it")
def test_the_guard_s_reports_can_be_awaited(place: str) -> None:
    async def story() -> None:
        async with kedge.aio.open(place, durability="normal") as k:
            await k.deploy("v1", {"support/prompt": "one"})
            assert (await k.guard.health()).ok
            assert not (await k.guard.gates("v1")).ok
            assert await k.guard.drift("v1") == {}
            await k.guard.set_slo(TABLE)
            assert (await k.guard.slo()).ok is None

    asyncio.run(story())
