"""Health: a rollback that has reached only a part is ill, and what nobody looked at is not healthy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge import Artifact, Kedge
from kedge.guard import Health
from kedge.guard import health as healths
from kedge.guard.health import Severity, State
from kedge.model import drills
from kedge.model.fleet import Standing
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver
from kedge.turns.scope import scope_of
from tests.contract.conftest import MONDAY, HandClock

POSTGRES_ONE_IN = 24
LEASE_SECONDS = 0.5  # the member's: a rollback waits so long, in real time


def backend_of(k: Kedge) -> Backend:
    return scope_of(k.view()).backend


def log_drill(k: Kedge, kind: str = drills.PASSED, **detail: Any) -> None:
    backend = backend_of(k)
    backend.control.step(backend.clock.fresh_id(), kind, by="x", detail=detail)


@pytest.fixture
def k(place: str, clock: HandClock) -> Iterator[Kedge]:
    """Open a database in which a drill has passed, v1 is live and v2 is staged."""
    with kedge.open(place, durability="normal", clock=clock) as opened:
        log_drill(opened)
        opened.deploy("v1", {"support/prompt": "one"})
        opened.promote("v1")
        opened.deploy("v2", {"support/prompt": "two"})
        yield opened


def said(found: Health, severity: Severity = Severity.ILL) -> list[tuple[str, str]]:
    return [(finding.check, finding.what) for finding in found.findings if finding.severity is severity]


def member(k: Kedge, clock: HandClock, name: str, epoch: int, at: float | None = None) -> None:
    standing = Standing(name, name, "h1", 7, (), LEASE_SECONDS, epoch, MONDAY, clock.time if at is None else at)
    backend_of(k).fleet.refresh(standing)


@pytest.mark.both
def test_a_database_at_rest_is_healthy_and_says_what_was_looked_at(k: Kedge, clock: HandClock) -> None:
    member(k, clock, "support-1", k.epoch)
    before = k.epoch, k.seq
    found = k.guard.health()
    assert (found.ok, found.state, found.findings) == (True, State.HEALTHY, ())
    assert found.checks == dict.fromkeys(
        ["database", "members", "operations", "writers", "drills", "levels", "quality"], "ok"
    )
    assert str(found) == "healthy: 7 checks, nothing found"
    assert (k.epoch, k.seq) == before, "it changes nothing"


# ── members ──


@pytest.mark.both
def test_a_member_on_the_old_epoch_past_its_lease_is_ill(k: Kedge, clock: HandClock) -> None:
    member(k, clock, "support-1", k.epoch)
    k.canary("v2", 0.5)
    member(k, clock, "support-1", k.epoch - 1)
    assert k.guard.health().ok, "it has until its lease ends"
    clock.time += 30
    member(k, clock, "support-1", k.epoch - 1)
    found = k.guard.health()
    who = f"support-1 on h1 (pid 7, epoch {k.epoch - 1})"
    assert said(found) == [("members", f"{who} refreshes its lease, and has not acknowledged epoch {k.epoch}")]
    assert found.findings[0].since == pytest.approx(MONDAY, abs=1)
    member(k, clock, "support-1", k.epoch)
    assert k.guard.health().ok


def test_a_member_that_has_not_confirmed_a_rollback_is_named_for_an_hour_though_it_is_silent(
    k: Kedge, clock: HandClock
) -> None:
    k.promote("v2")
    member(k, clock, "support-1", k.epoch)
    k.rollback("v2", wait=0.0)
    clock.time += 120
    with kedge.open(k.url, durability="normal", clock=clock) as other:
        other.recover()
    found = k.guard.health()
    assert "has not confirmed the rollback of 'v2'" in dict(said(found))["members"]
    clock.time += 3_600
    found = k.guard.health()
    assert said(found) == []
    assert "has let its lease run out" in dict(said(found, Severity.WARNING))["members"]


def test_a_member_that_is_gone_without_a_change_is_a_warning(k: Kedge, clock: HandClock) -> None:
    member(k, clock, "support-1", k.epoch)
    clock.time += 60
    found = k.guard.health()
    assert found.ok
    assert dict(said(found, Severity.WARNING))["members"].startswith("support-1 on h1 (pid 7")


def test_a_member_that_lacks_more_changes_than_are_looked_at_is_ill(k: Kedge, clock: HandClock) -> None:
    old = k.epoch
    member(k, clock, "support-1", old)
    k.canary("v2", 0.5)
    for number in range(210):
        backend_of(k).control.step(f"op-{number}", "step", by="x")
    clock.time += 30
    member(k, clock, "support-1", old)
    assert [check for check, _ in said(k.guard.health())] == ["members"]


# ── operations ──


@pytest.mark.both
def test_a_rollback_that_is_not_finished_is_ill_after_a_minute(k: Kedge, clock: HandClock) -> None:
    k.promote("v2")
    k.rollback("v2", verify=False)
    assert said(k.guard.health(), Severity.WARNING) == [
        ("operations", f"the rollback of 'v2' (epoch {k.epoch}, by {k.log(1)[0].by}) is not finished")
    ]
    clock.time += 61
    found = k.guard.health()
    assert [check for check, _ in said(found)] == ["operations"]
    assert found.findings[0].todo == "run `kedge recover`"
    k.recover()
    assert k.guard.health().findings == ()


class Stuck:
    """An external system that stays where it is."""

    artifacts = "support/*"
    deadline_seconds = 0.05

    def observe(self, key: str, timeout: float) -> str | None:  # noqa: ARG002 - the port's signature
        return "the old one"

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        """Do nothing."""


def test_an_external_system_that_did_not_follow_is_ill(place: str, clock: HandClock) -> None:
    with kedge.open(place, durability="normal", clock=clock, reconcilers={"gateway": Stuck()}) as k:
        log_drill(k)
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
        clock.time += 61
        found = k.guard.health()
        assert said(found)[0][1].startswith("gateway did not follow the promote of 'v1'")


# ── writers ──


@pytest.mark.both
def test_hidden_writes_that_still_arrive_are_ill(k: Kedge, clock: HandClock) -> None:
    k.promote("v2")
    with k.turn(agent="support") as turn:
        turn.context.put("before", 1)
    k.rollback("v2")
    driver = BackendDriver(backend_of(k))
    number = backend_of(k).control.number_of("v2")
    assert number is not None
    driver.put("soon", 1, lineage=frozenset({number}))
    assert k.guard.health().ok, "turns under way may end"
    clock.time += 120
    driver.put("late", 1, lineage=frozenset({number}))
    driver.put("other", 1)
    found = k.guard.health()
    ((check, what),) = said(found)
    assert check == "writers"
    assert what.startswith("1 write of 'v2' arrived after its rollback")
    clock.time += 700
    assert k.guard.health().ok, "it has ended"


def test_what_was_hidden_by_an_earlier_rollback_is_not_late(k: Kedge, clock: HandClock) -> None:
    k.promote("v2")
    k.rollback("v2")
    clock.time += 100
    k.reinstate("v2")
    with k.turn(agent="support") as turn:
        turn.context.put("in between", 1)
    k.rollback("v2")
    assert k.guard.health().ok


# ── drills, levels, and what cannot be seen ──


def test_a_missing_drill_is_ill_while_a_canary_runs_and_a_failed_one_always(k: Kedge, clock: HandClock) -> None:
    clock.time += 8 * 86_400
    found = k.guard.health()
    assert found.ok
    assert said(found, Severity.WARNING) == [("drills", "no drill in place within 7 days")]
    k.canary("v2", 0.1)
    assert "v2 could need a rollback" in dict(said(k.guard.health()))["drills"]
    log_drill(k)
    assert k.guard.health().ok
    log_drill(k, drills.FAILED, failed=["unseen"])
    assert dict(said(k.guard.health()))["drills"].startswith("the newest drill in place failed: unseen")


def test_levels_below_full_are_a_warning_and_everything_off_is_ill(k: Kedge) -> None:
    k.ladder.tighten("frozen", "feature:support", reason="odd answers", by="ann")
    found = k.guard.health()
    assert found.ok
    assert said(found, Severity.WARNING) == [("levels", "feature:support is at level frozen, by ann: odd answers")]
    k.ladder.tighten("off", "everything", by="ann")
    assert said(k.guard.health()) == [("levels", "everything is at level off, by ann")]


def test_a_stop_file_is_ill(place: str, clock: HandClock, tmp_path: Path) -> None:
    file = tmp_path / "HALT"
    with kedge.open(place, durability="normal", clock=clock, stop_file=file) as k:
        log_drill(k)
        assert k.guard.health().ok
        file.write_text("feature:support off\n")
        clock.time += 1
        found = k.guard.health()
        assert found.ok, "a part of it"
        assert dict(said(found, Severity.WARNING))["levels"].startswith(f"feature:support is at level off, by {file}")
        file.write_text("")
        found = k.guard.health()
        assert dict(said(found))["levels"].startswith(f"everything is at level off, by {file}")
        assert found.findings[0].todo == f"once the reason is gone, run `kedge stop --release everything --file {file}`"
        file.write_text("what is this?\n")
        assert "cannot be read" in dict(said(k.guard.health()))["levels"]
        file.unlink()
        k.ladder.stop(by="ana")
        assert k.guard.health().findings[0].todo == "once the reason is gone, run `kedge stop --release everything`"


def test_values_that_are_refused_are_ill_for_an_hour(k: Kedge, clock: HandClock) -> None:
    k.guard.declare({"helpful": {"kind": "score"}})
    with k.turn(session="s-1", agent="support") as turn, warnings.catch_warnings(action="ignore"):
        for number in range(30):
            turn.observe("helpful", 0.5 if number < 5 else "five stars")
    assert dict(said(k.guard.health()))["quality"].startswith("25 of 30 values of helpful were refused at the door")
    clock.time += 3_700
    assert said(k.guard.health()) == []


def test_a_check_that_cannot_look_is_not_healthy(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> Iterator[Any]:
        raise OSError("the disk is gone")

    monkeypatch.setitem(healths.CHECKS, "writers", fail)
    found = k.guard.health()
    assert (found.ok, found.state, found.checks["writers"]) == (False, State.UNKNOWN, "unknown")
    assert said(found, Severity.UNKNOWN) == [("writers", "not looked at: OSError: the disk is gone")]
    log_drill(k, drills.FAILED)
    assert k.guard.health().state is State.ILL, "what is ill counts more"
    assert Health(0.0, None, {}, ()).state is State.UNKNOWN, "nothing was looked at"
