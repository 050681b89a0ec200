"""Reinstatement: it ends the rollback that it undoes, and says what it did and what it waits for."""

from __future__ import annotations

import time

import pytest

import kedge
from kedge import Kedge
from kedge.model.fleet import Standing
from kedge.turns.scope import scope_of

POSTGRES_ONE_IN = 3


@pytest.fixture
def launched(k: Kedge) -> Kedge:
    """Start a canary that answered twice."""
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    for n in range(2):
        with k.turn(session=f"s{n}", agent="support") as turn:
            turn.memory.append("user", "hello")
            turn.memory.append("assistant", "bad")
    return k


def crash(k: Kedge, *, hold: list[str]) -> None:
    """Roll back, and die before the verification."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kedge.recovery.rollback.verify", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            k.rollback("v2", reason="wrong refunds", by="ann", hold=hold)


def kinds(k: Kedge) -> list[str]:
    return [entry.kind for entry in reversed(k.log(20))]


@pytest.mark.both
def test_a_reinstatement_ends_the_rollback_that_it_undoes(launched: Kedge) -> None:
    crash(launched, hold=["support"])
    assert launched.levels() == {"support": "frozen"}
    report = launched.reinstate("v2", by="bob")
    assert (report.status, report.weight, report.released) == (kedge.Status.CANARY, 1.0, ("support",))
    assert report.writes_visible == 3, "its prompt and two answers"
    assert report.ok
    assert report.verdict.startswith("v2: reinstated (epoch ")
    assert "canary again; 3 writes visible; verified on " in report.verdict
    assert (launched.levels(), launched.status().unfinished) == ({}, ())
    assert kinds(launched)[-2:] == ["reinstate", "rollback:superseded"]
    assert launched.recover() == []
    assert kinds(launched)[-1] == "rollback:superseded"


def test_recover_says_that_a_rollback_was_undone_where_the_log_does_not(
    launched: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(launched, hold=["support"])
    monkeypatch.setattr("kedge.recovery.reinstate.end_superseded", lambda *_: None)  # killed in between, or older
    launched.reinstate("v2", by="bob")
    (said,) = launched.recover()
    assert said.startswith("v2: rolled back (epoch ")
    assert "but reinstated by bob (epoch " in said
    assert "hidden" not in said
    assert launched.recover() == []
    assert launched.levels() == {}


@pytest.mark.parametrize("step", ["committed", "waiting"])
def test_a_rollback_that_is_undone_while_it_waits_says_so(launched: Kedge, step: str) -> None:
    now = time.time()
    fleet = scope_of(launched.view()).backend.fleet
    fleet.refresh(Standing("slow", "slow", "elsewhere", 1, (), 1.0, launched.epoch, joined_at=now, at=now))
    undone: list[str] = []

    told: list[str] = []

    def undo(said: str) -> None:
        told.append(said.split(maxsplit=1)[0])
        if said.startswith(step):
            undone.append(launched.reinstate("v2", by="bob").verdict)

    report = launched.rollback("v2", hold=["support"], on_step=undo)
    assert "waiting for member slow (it has not acknowledged epoch " in undone[0]
    assert not report.ok
    assert "but reinstated by bob" in report.verdict
    assert ("waiting" in told) == (step == "waiting"), "what is undone already waits for nobody"
    assert not any(said.startswith("verifi") for said in told)
    assert (launched.levels(), launched.status().unfinished) == ({}, ())


def test_a_second_rollback_is_not_the_one_that_was_undone(launched: Kedge) -> None:
    crash(launched, hold=["support"])
    launched.reinstate("v2")
    assert launched.rollback("v2", hold=["support"]).ok
    assert (launched.levels(), launched.recover()) == ({}, [])


def test_releasing_held_features_leaves_who_rolled_back_when_and_why(launched: Kedge) -> None:
    held = launched.rollback("v2", reason="wrong refunds", by="ann", hold=["support"])
    assert kinds(launched)[-1] == "rollback:resumed"
    shown = launched.deployment("v2")
    assert (shown.reason, shown.by) == ("wrong refunds", "ann")
    assert shown.since == next(e for e in launched.log() if e.seq == held.seq).at


def test_a_rollback_that_holds_nothing_resumes_nothing(launched: Kedge) -> None:
    assert launched.rollback("v2").ok
    assert kinds(launched)[-1] == "rollback:finished"
    assert "rollback:resumed" not in kinds(launched)


def test_dependants_that_stay_hidden_are_named(launched: Kedge) -> None:
    launched.promote("v2")
    for name in ("v3", "v4"):
        launched.deploy(name, {"support/prompt": name})
        launched.promote(name)
    launched.rollback("v3")
    launched.rollback("v2")
    report = launched.reinstate("v2")
    assert (report.came_back_with_it, report.still_hidden) == ((), ("v3", "v4"))
    assert launched.reinstate("v3").came_back_with_it == ("v4",)
