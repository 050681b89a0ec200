"""Maintenance: purges that are due, the background, the estimate of the disk."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.fleet import upkeep
from kedge.recovery import maintenance
from tests.contract import forward
from tests.contract.forward import DAY, Clock
from tests.contract.test_retention import contents, put
from tests.databases import raw_rows

clock, k = forward.clock, forward.k


def rolled_back(k: kedge.Kedge, name: str = "v1") -> None:
    """Roll back a deployment that has written."""
    k.deploy(name, {f"{name}/prompt": "x"}, canary=1.0)
    put(k, "bad", key=name, deployment=name)
    k.rollback(name, verify=False)


def pass_days(k: kedge.Kedge, clock: Clock, days: float) -> None:
    """Set the clock forward, and write, so that the database notices."""
    clock.ahead += days * DAY
    put(k, "end", "c")


# ── purges ──


def test_nothing_is_purged_unless_so_set(k: kedge.Kedge, clock: Clock) -> None:
    rolled_back(k)
    pass_days(k, clock, 400)
    assert k.reclaim().purged == ()
    assert k.status().pinning == ("v1",)
    assert k.deployment("v1").status == "rolled back"


def test_what_was_rolled_back_for_long_enough_is_purged(k: kedge.Kedge, clock: Clock) -> None:
    k.set_retention(2 * DAY)
    k.set_retention(purge_after=10 * DAY)
    assert k.status().retention_seconds == 2 * DAY, "the horizon stays"
    assert k.status().purge_after_seconds == 10 * DAY
    rolled_back(k)
    pass_days(k, clock, 9)
    assert k.reclaim().purged == ()
    rolled_back(k, "v2")
    pass_days(k, clock, 2)
    report = k.reclaim()
    assert (report.purged, report.refused) == (("v1",), {})
    assert [k.deployment(name).status for name in ("v1", "v2")] == ["purged", "rolled back"]
    assert (k.status().pinning, k.status().not_purged) == ((), {})
    assert [e.by for e in k.log() if e.kind == "purge"] == ["retention"]
    with pytest.raises(kedge.InvalidValue, match="invalid purge_after 'never': give seconds"):
        k.set_retention(purge_after="never")
    k.set_retention(purge_after="off")
    pass_days(k, clock, 100)
    assert k.reclaim().purged == ()
    assert k.fsck(full=True).findings == ()


def test_a_dependant_that_is_not_due_keeps_its_base(k: kedge.Kedge, clock: Clock) -> None:
    k.set_retention(purge_after=10 * DAY)
    k.deploy("base", {"clerk/prompt": "x"}, canary=1.0)
    k.promote("base")
    k.deploy("on", {"clerk/prompt": "y"}, canary=1.0)
    k.rollback("base", verify=False)
    pass_days(k, clock, 9)
    k.reinstate("base", verify=False)
    k.rollback("on", verify=False)
    pass_days(k, clock, 9)
    k.rollback("base", verify=False)
    pass_days(k, clock, 2)
    assert set(k.reclaim().purged) <= {"on"}
    assert k.deployment("base").status == "rolled back"
    pass_days(k, clock, 9)
    k.reclaim()
    assert k.deployment("base").status == "purged"


@pytest.mark.parametrize("obstacle", ["snapshot", "hold"])
def test_what_cannot_be_purged_is_said(k: kedge.Kedge, clock: Clock, obstacle: str) -> None:
    k.set_retention(purge_after=DAY)
    k.deploy("v1", {"clerk/prompt": "x"}, canary=1.0)
    k.promote("v1")
    put(k, "bad")
    if obstacle == "snapshot":
        k.snapshot("friday")
    else:
        k.set_retention(store="context", hold=True)
    k.rollback("v1", verify=False)
    pass_days(k, clock, 2)
    report = k.reclaim()
    assert report.purged == ()
    assert list(report.refused) == list(k.status().not_purged) == ["v1"]
    assert ("friday" if obstacle == "snapshot" else "a hold on the store 'context'") in report.refused["v1"]
    k.reinstate("v1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"purge_after": -1}, "invalid purge_after -1"),
        ({"purge_after": "soon"}, "invalid purge_after 'soon'"),
        ({"purge_after": 1, "age": 1}, "goes with no other setting"),
        ({"purge_after": 1, "store": "context"}, "goes with no other setting"),
    ],
)
def test_an_invalid_age_is_refused(k: kedge.Kedge, given: dict[str, Any], said: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=said):
        k.set_retention(**given)
    assert k.status().purge_after_seconds is None


# ── in the background ──


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.0)


def until(condition: Any) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("at_once")
def test_a_process_that_writes_reclaims_in_the_background(place: str, clock: Clock) -> None:
    with kedge.open(place, clock=clock, durability="normal") as k:
        k.set_retention(DAY, store="context")
        for value in "123":
            put(k, value)
        pass_days(k, clock, 2)

        def written() -> bool:
            clock.ahead += maintenance.PASS_SECONDS
            put(k, "x", "c")
            return contents(place, "a") == 1

        until(written)
        assert k.view().context.get("a") == "3"


@pytest.mark.usefixtures("at_once")
def test_a_member_reclaims_in_the_background(place: str, clock: Clock) -> None:
    with kedge.open(place, clock=clock, durability="normal") as writer:
        for value in "123":
            put(writer, value)
        writer.set_retention(DAY, store="context")
        writer.close()
    clock.ahead += 2 * DAY
    with kedge.open(place, clock=clock, durability="normal") as k:
        k.snapshot("an entry at a later time")
        with k.join(lease_seconds=0.5):
            until(lambda: contents(place, "a") == 1)


@pytest.mark.usefixtures("at_once")
def test_a_failure_in_the_background_is_logged(
    place: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **_named: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(maintenance, "maintain", fail)
    with kedge.open(place, clock=clock, durability="normal") as k, caplog.at_level(logging.WARNING, "kedge"):
        k.set_retention(DAY, store="context")
        put(k, "1")
        until(lambda: "the maintenance in the background failed" in caplog.text)
        assert "RuntimeError: a defect" in caplog.text
        put(k, "2")


def test_one_pass_at_a_time_in_all_processes(place: str, clock: Clock) -> None:
    with kedge.open(place, clock=clock) as a, kedge.open(place, clock=clock) as b:
        ports = [one._kernel.backend.reclamation for one in (a, b)]
        now = clock.now()
        assert [port.claim(now, 300) for port in ports] == [True, False]
        assert ports[1].claim(now + 301, 300)
        assert ports[0].claim(now, 300), "a time in the future was that of a wrong clock"


# ── the disk ──


def test_the_disk_use_is_estimated_by_store(k: kedge.Kedge, clock: Clock) -> None:
    for number in range(40):
        put(k, "x" * 1_000 + str(number))
    with k.turn(session="s", agent="clerk") as turn:
        turn.memory.append("user", "y" * 5_000)
    disk = k.status().disk
    assert set(disk) == {"context", "memory"}
    assert abs(disk["context"].bytes - 40_000) < 4_000
    assert disk["context"].freeable == 0, "nothing is 30 days old"
    pass_days(k, clock, 31)
    disk = k.status().disk
    assert abs(disk["context"].freeable - 39_000) < 4_000
    assert disk["memory"].freeable == 0
    k.set_retention(60 * DAY, store="context")
    assert k.status().disk["context"].freeable == 0
    k.set_retention(DAY, store="context")
    assert k.status().disk["context"].freeable > 30_000
    freed = k.reclaim()
    assert abs(freed.stores["context"].bytes - 39_000) < 4_000
    assert k.status().disk["context"].bytes < 5_000


def test_the_estimate_looks_at_few_writes(k: kedge.Kedge) -> None:
    k.collection("kb", dim=2)
    names = [f"key {number}" for number in range(3_000)]
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names, np.ones((3_000, 2), np.float32), [{"text": "x" * 100}] * 3_000)
    use, sampled = k.status().disk["vectors"].bytes, 3_000 * (len('{"text":""}') + 100)
    assert 0.8 * sampled < use - 3_000 * 8 < 1.2 * sampled


# ── what is no store ──


def test_idempotency_keys_are_forgotten_by_age(k: kedge.Kedge, place: str, clock: Clock) -> None:
    def call(key: str) -> int:
        with k.turn(agent="clerk") as turn:
            return turn.context.put(key, "x", idempotency=key)

    old = [call(f"old {number}") for number in range(3)]
    k.set_retention(10 * DAY, store="idempotency")
    pass_days(k, clock, 9)
    new = call("new")
    assert k.reclaim().rows == 0
    assert call("old 0") == old[0], "a repeat"
    pass_days(k, clock, 2)
    assert k.reclaim().stores["idempotency"].rows == 3
    assert raw_rows(place, "SELECT count(*) FROM idempotency") == [(1,)]
    assert call("new") == new
    assert call("old 0") > new, "a new call"
    assert k.reclaim().rows == 0
    assert k.fsck(full=True).findings == ()


def test_metric_samples_are_forgotten_by_age(k: kedge.Kedge, place: str, clock: Clock) -> None:
    def observe(count: int) -> None:
        for _ in range(count):
            with k.turn(session="s", agent="clerk") as turn:
                turn.observe("resolved", True)

    observe(3)
    pass_days(k, clock, 9)
    observe(2)
    k.set_retention(10 * DAY, store="metrics")
    assert k.reclaim().rows == 0
    pass_days(k, clock, 2)
    assert k.reclaim().stores["metrics"].rows == 3
    assert raw_rows(place, "SELECT count(*) FROM observations") == [(2,)]
    k.set_retention(store="metrics", hold=True)
    pass_days(k, clock, 100)
    assert k.reclaim().rows == 0
    assert k.fsck(full=True).findings == ()


def test_bookkeeping_has_no_spaces(k: kedge.Kedge) -> None:
    with pytest.raises(kedge.InvalidValue, match="idempotency has no spaces"):
        k.set_retention(DAY, store="idempotency", space="x")


def test_many_keys_are_forgotten_in_parts(k: kedge.Kedge, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    port = k._kernel.backend.pruning
    monkeypatch.setattr(f"{type(port).__module__}.PRUNED_AT_ONCE", 2)
    for number in range(7):
        with k.turn(agent="clerk") as turn:
            turn.context.put(f"{number}", "x", idempotency=f"{number % 2} {number}")
            turn.observe("resolved", True)
    k.set_retention(DAY, store="idempotency")
    k.set_retention(DAY, store="metrics")
    pass_days(k, clock, 2)
    stores = k.reclaim().stores
    assert (stores["idempotency"].rows, stores["metrics"].rows) == (7, 7)
