"""Readiness of a database's own stores, and the gate that rests on it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge import InvalidValue, Kedge
from kedge.guard import read_release
from kedge.guard.gate import GateResult
from kedge.model.drills import FAILED
from kedge.model.readiness import WayBack
from tests.contract.conftest import HandClock
from tests.external_systems import model, on_file

POSTGRES_ONE_IN = 6
DAY = 86_400.0
RELEASE = {"deployment": "v2", "metrics": {"resolved": {"kind": "success"}}, "artifacts": {"support/prompt": "two"}}


def write(k: Kedge, name: str = "v1") -> None:
    k.deploy(name, {"support/prompt": name}, canary=1.0)
    with k.turn(session=name, agent="support") as turn:
        turn.memory.append("assistant", "hello")
        turn.context.put(f"case/{name}", name)


def gate(k: Kedge, settings: Any) -> GateResult | None:
    results = {result.name: result for result in k.guard.gates("v2", {"readiness": settings}).results}
    return results.get("readiness")


@pytest.mark.both
def test_a_rehearsed_rollback_makes_a_database_ready(k: Kedge, clock: HandClock) -> None:
    write(k)
    before = k.guard.readiness()
    assert {store.store for store in before.stores} >= {"memory", "context"}
    assert before.score == 75, "everything but time and test"
    assert all(store.way is WayBack.DEPLOYMENT and store.fixes for store in before.stores)
    assert "kedge drill --in-place" in str(before)
    k.rollback("v1", reason="wrong")
    after = k.guard.readiness()
    assert (after.score, [store.fixes for store in after.stores if store.fixes]) == (100, [])
    assert k.guard.readiness("1ms").score == 85, "the rollback took longer than it may"
    clock.time += 100 * DAY
    assert k.guard.readiness().score == 95, "the rehearsal is older than a quarter"
    clock.time += 300 * DAY
    assert k.guard.readiness().score == 90


def test_an_empty_database_has_no_score(tmp_path: Path) -> None:
    with kedge.open(tmp_path / "new") as k:
        found = k.guard.readiness()
    assert (found.score, found.stores) == (None, ())
    assert "not known" in str(found)


def test_a_failed_drill_takes_the_test_back(k: Kedge, clock: HandClock) -> None:
    write(k)
    k.rollback("v1")
    clock.time += 60
    assert k.guard.readiness().score == 100
    k._kernel.backend.control.step("drill", FAILED, by="ann", detail={"failed": ["vectors"]})
    found = k.guard.readiness()
    assert found.score == 90
    assert "the newest rehearsal failed" in found.stores[0].fixes[0].what


def test_the_gate_applies_where_a_release_sets_it(k: Kedge) -> None:
    write(k)
    k.deploy("v2", {"support/prompt": "two"})
    assert "readiness" not in {result.name for result in k.guard.gates("v2").results}
    found = gate(k, 80)
    assert found is not None
    assert (found.passed, found.evidence["scores"]) == (False, {"here": 75})
    assert "at least 80 is wanted" in found.detail
    assert found.evidence["fixes"]
    assert gate(k, 75) is not None
    k.rollback("v1")
    for settings in (80, {"at_least": 100}):
        result = gate(k, settings)
        assert result is not None
        assert result.passed


def test_a_readiness_document_counts_while_it_is_fresh(k: Kedge, clock: HandClock, tmp_path: Path) -> None:
    write(k)
    k.rollback("v1")
    k.deploy("v2", {"support/prompt": "two"})
    path = tmp_path / "readiness.json"
    settings = {"at_least": 60, "document": str(path), "max_age": "2d"}
    stores = [{"store": "chroma", "fixes": [{"what": "name the collection after the deployment"}]}]
    for score, passed in ((59, False), (60, True)):
        path.write_text(json.dumps({"score": score, "at": clock.time, "stores": stores}))
        found = gate(k, settings)
        assert found is not None
        assert (found.passed, found.evidence["scores"]) == (passed, {"here": 100, str(path): score})
        assert "name the collection after the deployment" in found.evidence["fixes"]
    for at, known in ((clock.time, None), (clock.time + 3 * DAY, 100), (math.nan, 100), (-math.inf, 100)):
        path.write_text(json.dumps({"score": known, "at": at, "stores": stores}))
        found = gate(k, settings)
        assert found is not None
        assert (found.passed, found.detail.partition(": ")[0]) == (False, "not checked"), (at, known)
    path.write_text(json.dumps({"score": 100, "at": clock.time, "stores": stores}))
    clock.time += 3 * DAY
    found = gate(k, settings)
    assert found is not None
    assert (found.passed, found.detail.partition(": ")[0]) == (False, "not checked")
    for content in (
        "{",
        "[]",
        '{"score": 80}',
        '{"score": true, "at": 1, "stores": []}',
        '{"score": 101, "at": 1, "stores": []}',
    ):
        path.write_text(content)
        found = gate(k, settings)
        assert found is not None
        assert not found.passed
    path.unlink()
    found = gate(k, settings)
    assert found is not None
    assert "cannot read the readiness document" in found.detail


@pytest.mark.parametrize("setting", ["80", True, None, {"at_leest": 3}, [80]])
def test_wrong_settings_are_refused(setting: Any) -> None:
    with pytest.raises(InvalidValue, match="readiness"):
        read_release({**RELEASE, "gates": {"readiness": setting}})


def test_a_release_writes_the_score_alone() -> None:
    assert read_release({**RELEASE, "gates": {"readiness": 80}}).release.gates == {"readiness": {"at_least": 80}}


def test_an_external_system_counts_by_its_last_reconciliation(place: str, tmp_path: Path) -> None:
    served = tmp_path / "served"
    with kedge.open(place, durability="normal", reconcilers={"models": on_file(served)}) as k:
        k.deploy("v0", {"support/model": model(1)})
        k.promote("v0")
        write(k)
        found = {store.store: store for store in k.guard.readiness().stores}["external:models"]
        assert (found.way, found.span) == (WayBack.UNKNOWN, None)
        assert "was never reconciled" in found.fixes[0].what
        k.deploy("v9", {"support/model": model(9)}, canary=1.0)
        k.promote("v9")
        assert k.rollback("v9").ok
        found = {store.store: store for store in k.guard.readiness().stores}["external:models"]
        assert (found.way, found.fixes) == (WayBack.DEPLOYMENT, ())
        assert found.span is not None
